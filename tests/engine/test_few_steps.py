"""A student of few steps: weights of its own, served beside the checkpoint's and never mixed with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from protocol.errors import InvalidRequest
from protocol.methods import CACHES, DROPS, FEW_STEP, FEWER_STEPS
from protocol.plan import Plan
from protocol.receipts import FLOP_PER_TFLOP, Action
from tests.engine.clips import clip, same
from tests.engine.students import STEPS, write_few
from tests.engine.test_receipts import counted_run
from tests.engine.test_wan_isolation import finish
from tests.plugins.pare import build_student
from workers.engine import Engine, NotIsolated, self_test
from workers.models import load
from workers.models.folder import digest_of


@pytest.fixture(scope="module")
def folder(wan_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_few(Path(shutil.copytree(wan_root / "unipc", tmp_path_factory.mktemp("few") / "unipc")))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(folder, dtype="float32")


def few_clip(**given: Any) -> dict[str, Any]:
    body = clip(**{"num_inference_steps": 4, "guidance_scale": 1.0, **given})
    return {**body, "compute_budget": {"fraction": 0.5, "methods": [FEW_STEP]}}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.inference_mode()
def test_it_is_euler_on_its_own_weights_and_grid(folder: Path, dtype: str) -> None:
    """By diffusers' own modules, without ours: UniPC's levels of two steps, Euler's step between them."""
    from diffusers import WanPipeline, WanTransformer3DModel

    (result,) = Engine(load(folder, dtype=dtype)).run([few_clip(seed=11)])
    kind = getattr(torch, dtype)
    network = WanTransformer3DModel.from_pretrained(folder / "transformer_few", torch_dtype=kind)
    pipeline = WanPipeline.from_pretrained(folder, transformer=network, dtype=kind)
    embeds, _ = pipeline.encode_prompt("a red apple", None, False, max_sequence_length=16)
    pipeline.scheduler.set_timesteps(STEPS)
    sigmas, timesteps = pipeline.scheduler.sigmas, pipeline.scheduler.timesteps
    latents = torch.randn(result.samples[0].latents.shape, generator=torch.Generator().manual_seed(11))
    for index in range(STEPS):
        velocity = network(latents.to(kind), timesteps[index : index + 1], embeds, return_dict=False)[0]
        step = (sigmas[index + 1] - sigmas[index]).to(kind)
        latents = (latents.float() + step * velocity).to(kind)
    assert torch.equal(result.samples[0].latents, latents)


def test_its_receipt_is_torchs_count(model: Any) -> None:
    """Two of four evaluations: half of full compute, line by line what torch counts."""
    engine = Engine(model)
    engine.add(few_clip(num_inference_steps=4))
    result, _, total = counted_run(engine)
    receipt, (sample,) = result.receipt, result.samples
    assert (receipt.tflops + receipt.other_tflops) * FLOP_PER_TFLOP == pytest.approx(total, rel=1e-9)
    assert (receipt.granted, receipt.spent, receipt.nfe) == (0.5, 0.5, STEPS)
    assert (sample.receipt.plan.methods, sample.receipt.plan.solver) == ((FEW_STEP,), "euler")
    assert [(line.action, line.blocks_run, line.blocks_total) for line in sample.receipt.steps] == [
        (Action.FULL, 3, 3)
    ] * STEPS


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A PARE student of six blocks with a router, and its own student of few steps."""
    return load(write_few(build_student(tmp_path_factory.mktemp("pruned") / "unipc")), dtype="float32")


def test_a_pruned_student_costs_what_is_left_of_it(pruned: Any) -> None:
    engine = Engine(pruned)
    engine.add(few_clip())
    result, _, total = counted_run(engine)
    receipt = result.receipt
    assert pruned.catalog.few_steps.shapes == pruned.catalog.shapes
    assert (receipt.tflops + receipt.other_tflops) * FLOP_PER_TFLOP == pytest.approx(total, rel=1e-9)
    assert 0.25 < receipt.spent == receipt.granted < 0.5


def test_a_routed_student_of_few_steps(pruned: Any) -> None:
    """Where all its blocks are not paid its router leaves some out, also beside a row that runs them all.

    The router's own products, 575,488 FLOP here, are nobody's to pay.
    """
    whole = few_clip(seed=1)
    routed = {**few_clip(seed=2), "compute_budget": {"fraction": 0.24, "methods": ["pare", FEW_STEP]}}
    alone = [Engine(pruned).run([body])[0] for body in (whole, routed)]
    together = Engine(pruned).run([routed, whole, clip(seed=3, guidance_scale=1.0, num_inference_steps=4)])
    assert same(together[0], alone[1])
    assert same(together[1], alone[0])
    engine = Engine(pruned)
    engine.add(routed)
    result, _, total = counted_run(engine)
    receipt, plan = result.receipt, result.samples[0].receipt.plan
    assert (receipt.tflops + receipt.other_tflops) * FLOP_PER_TFLOP == pytest.approx(
        total - 575_488, rel=1e-9
    )
    assert receipt.spent == receipt.granted <= 0.24
    assert (plan.methods, plan.num_inference_steps) == (("pare", FEW_STEP), STEPS)
    lines = result.samples[0].receipt.steps
    assert [line.blocks_run for line in lines] == list(plan.depths)
    assert {line.action for line in lines} == {Action.ROUTED}


@contextmanager
def rows_of(model: Any) -> Iterator[dict[str, list[int]]]:
    """Rows of every forward inside, by whose first block they passed."""
    rows: dict[str, list[int]] = {"own": [], FEW_STEP: []}
    networks = {"own": model.network, FEW_STEP: model.variants[FEW_STEP].network}
    with ExitStack() as stack:
        for name, network in networks.items():

            def count(
                _module: Any, _args: Any, given: dict[str, Any], _output: Any, *, name: str = name
            ) -> None:
                rows[name].append(given["hidden_states"].shape[0])

            handle = network._transformer.blocks[0].register_forward_hook(count, with_kwargs=True)
            stack.callback(handle.remove)
        yield rows


def test_rows_of_both_weights_never_share_a_forward(model: Any) -> None:
    """Two of the student's and two plain ones, all of one grid: two rows at most, and the bits of alone."""
    bodies = [
        few_clip(seed=1),
        clip(seed=2, guidance_scale=1.0, num_inference_steps=4),
        few_clip(seed=3, prompt="the sun"),
        clip(seed=1, guidance_scale=1.0, num_inference_steps=3),
    ]
    alone = [Engine(model).run([body])[0] for body in bodies]
    engine = Engine(model)
    with rows_of(model) as rows:
        jobs = [engine.add(body) for body in bodies]
        together = finish(engine)
    assert (max(rows["own"]), sum(rows["own"])) == (2, 7)
    assert (max(rows[FEW_STEP]), sum(rows[FEW_STEP])) == (2, 4)
    for job, expected in zip(jobs, alone, strict=True):
        assert same(together[job], expected)
    assert not torch.equal(alone[0].samples[0].latents, alone[3].samples[0].latents)


def test_the_catalog_offers_it_only_where_it_is(
    model: Any, load_wan: Callable[..., Any], folder: Path
) -> None:
    few = model.catalog.few_steps
    assert (few.num_inference_steps, few.solver, few.shapes) == (STEPS, "euler", model.catalog.shapes)
    assert model.catalog.methods == (*FEWER_STEPS, *CACHES, *DROPS, FEW_STEP)
    plain = load_wan("unipc", "float32")
    assert (plain.catalog.few_steps, dict(plain.variants)) == (None, {})
    with pytest.raises(InvalidRequest) as caught:
        Engine(plain).add(few_clip())
    assert caught.value.param == "compute_budget.methods"
    assert caught.value.details["allowed"] == [*FEWER_STEPS, *CACHES, *DROPS]


def test_a_plan_for_weights_that_are_not_here_is_refused(load_wan: Callable[..., Any]) -> None:
    made = Plan(methods=(FEW_STEP,), num_inference_steps=STEPS, solver="euler", granted_flop=1, full_flop=2)
    with pytest.raises(LookupError, match="no weights for 'few-step'"):
        Engine(load_wan("unipc", "float32")).add(clip(), plan=made)


def test_it_is_part_of_the_digest(model: Any, folder: Path, load_wan: Callable[..., Any]) -> None:
    without = load_wan("unipc", "float32").catalog.digest
    assert digest_of(folder) == model.catalog.digest != without
    assert digest_of(folder, students=False) == without


def test_the_self_test_looks_at_its_rows_too(model: Any) -> None:
    self_test(model)

    def leak(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output if output.shape[0] == 1 else output + 1e-3 * output.flip(0)

    handle = model.variants[FEW_STEP].network._transformer.proj_out.register_forward_hook(leak)
    with pytest.raises(NotIsolated, match="few-step: row 0 of 2"):
        self_test(model)
    handle.remove()


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A private copy of the folder with the student."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_student_that_does_not_say_how_it_runs_is_refused(copy: Path) -> None:
    (copy / "transformer_few" / "few_steps.json").unlink()
    with pytest.raises(ValueError, match=r"no few_steps.json"):
        load(copy, dtype="float32")


@pytest.mark.parametrize(
    ("file", "changes", "match"),
    [
        ("few_steps.json", {"solver": "leap"}, "unknown solver 'leap'"),
        ("few_steps.json", {"num_inference_steps": 0}, "num_inference_steps"),
        ("few_steps.json", {"steps": 4}, "steps"),
        ("config.json", {"num_layers": 2}, "not shaped as"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(
    copy: Path, file: str, changes: dict[str, Any], match: str
) -> None:
    path = copy / "transformer_few" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=match):
        load(copy, dtype="float32")


def test_a_flux_student_is_refused(flux_root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(flux_root / "plain", tmp_path / "copy"))
    (copy / "transformer_few").mkdir()
    with pytest.raises(ValueError, match="student of few steps is not supported"):
        load(copy, dtype="float32")
