"""A PARE student is the stock pipeline around fewer heads and neurons; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from pydantic import ValidationError
from safetensors.torch import load_file

from protocol.cost import denoiser_cost, own_cost
from protocol.jobs import GenerationRequest
from tests.models.networks import assert_rows_are_isolated, evaluate
from tests.models.test_wan import TIMESTEPS, make_batch
from tests.plugins.once import models_in
from tests.protocol.counting import count_flop
from workers.core.pare_router import DepthRouter
from workers.engine import Engine
from workers.models.pare import KeptBlock, Pare, RouterShape, narrow
from workers.models.wan_network import WanNetwork
from workers.training.pare.slicing import slice_student
from workers.training.pare.student_folder import write_student

KEPT = KeptBlock(self_heads=(0, 1, 3), cross_heads=(1, 2, 3), neurons=tuple(range(16, 80)))
DEPTHS = {"least_blocks": 2.0, "most_blocks": 2.5}


def pare_of(router: RouterShape | None = None, **changes: Any) -> Pare:
    """Three of four heads and 64 of 96 neurons in each of three blocks."""
    given = {"teacher": "0" * 64, "blocks": (KEPT,) * 3, **DEPTHS, "router": router, **changes}
    return Pare.model_validate(given)


@pytest.fixture(scope="module")
def students(wan_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain` without and `routed` with a router, cut from `unipc`."""
    root, teacher = tmp_path_factory.mktemp("students"), wan_root / "unipc"
    stock = WanTransformer3DModel.from_pretrained(teacher / "transformer")
    torch.manual_seed(0)
    router = DepthRouter(torch.tensor([0.1, 0.2, 0.3]), 4)
    for name, its, shape in (("plain", None, None), ("routed", router, RouterShape(channels=4))):
        pare = pare_of(shape)
        weights = slice_student(stock, pare, None).state_dict()
        write_student(teacher, root / name, pare, weights=weights, router=its, record={})
    return root


@pytest.fixture(scope="module")
def load_student(students: Path) -> Callable[..., Any]:
    return models_in(students, "routed")


def test_the_folder_holds_a_stock_transformer_of_fewer_heads(load_student: Callable[..., Any]) -> None:
    transformer = load_student().pipeline.transformer
    assert type(transformer) is WanTransformer3DModel
    assert isinstance(load_student().pipeline, WanPipeline)
    assert transformer.config.num_attention_heads == 4
    block = transformer.blocks[1]
    assert (block.attn1.heads, block.attn2.heads) == (3, 3)
    assert block.attn1.to_q.weight.shape == block.attn2.to_v.weight.shape == (48, 64)
    assert block.attn1.norm_q.weight.shape == (48,)
    assert block.ffn.net[2].weight.shape == (64, 64)


def test_weights_are_kept_in_the_precision_of_the_stock_one(
    load_student: Callable[..., Any], load_wan: Callable[..., Any]
) -> None:
    """diffusers keeps norms and tables in float32 beside a network in bfloat16."""
    ours, stock = (
        {name: value.dtype for name, value in model.pipeline.transformer.state_dict().items()}
        for model in (load_student(dtype="bfloat16"), load_wan("unipc", "bfloat16"))
    )
    assert ours == stock
    assert set(ours.values()) == {torch.float32, torch.bfloat16}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.inference_mode()
def test_embed_blocks_head_are_its_own_forward(load_student: Callable[..., Any], dtype: str) -> None:
    model = load_student(dtype=dtype)
    batch = make_batch(model, 1)
    expected = model.pipeline.transformer(
        hidden_states=batch.latents.to(model.dtype),
        timestep=batch.timestep.to(torch.int64),
        encoder_hidden_states=batch.condition[0],
        return_dict=False,
    )[0]
    assert torch.equal(evaluate(model, batch), expected)
    assert expected.abs().sum() > 0


@pytest.mark.parametrize(("dtype", "rows"), [("float32", 2), ("float32", 3), ("float32", 5), ("bfloat16", 3)])
@torch.inference_mode()
def test_rows_cannot_feel_each_other(load_student: Callable[..., Any], dtype: str, rows: int) -> None:
    """Three heads of 16 are 48 channels, no multiple of 32: attention needs none."""
    model = load_student(dtype=dtype)
    assert_rows_are_isolated(model, make_batch(model, rows))


def test_the_engine_makes_what_the_pipeline_makes(load_student: Callable[..., Any]) -> None:
    model = load_student("plain")
    given = {"prompt": "two blue dogs", "seed": 3, "num_inference_steps": 3, "guidance_scale": 5.0}
    (result,) = Engine(model).run([GenerationRequest.model_validate({"model": "plain", "input": given})])
    expected = model.pipeline(
        prompt="two blue dogs",
        width=32,
        height=32,
        num_frames=5,
        num_inference_steps=3,
        guidance_scale=5.0,
        max_sequence_length=16,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).frames
    assert torch.equal(result.samples[0].latents, expected)


@torch.inference_mode()
def test_torch_counts_what_the_layout_says(load_student: Callable[..., Any]) -> None:
    model = load_student()
    batch = make_batch(model, 1)
    cost = model.network.layout.cost(batch.grid)
    assert cost.evaluation == count_flop(lambda: evaluate(model, batch))
    size = {"width": 32, "height": 32, "num_frames": 5}
    assert cost == own_cost(model.catalog.shapes, **size)
    assert denoiser_cost(model.catalog.shapes, **size).evaluation > cost.evaluation


def test_the_router_comes_with_the_folder(
    load_student: Callable[..., Any], load_wan: Callable[..., Any], students: Path
) -> None:
    router = load_student().depth_router
    saved = load_file(students / "routed" / "transformer" / "router.safetensors")
    assert {name: value.tolist() for name, value in router.state_dict().items()} == {
        name: value.tolist() for name, value in saved.items()
    }
    assert not router.training
    logits = router(torch.tensor(TIMESTEPS[:1]), torch.randn(1, 4, 3, 8, 8))
    assert logits[0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert load_student("plain").depth_router is None
    assert load_wan().depth_router is None


def test_pare_says_what_is_left_and_between_which_depths(load_student: Callable[..., Any]) -> None:
    assert load_student().catalog.shapes.pare.model_dump() == {
        "self_heads": 3,
        "cross_heads": 3,
        "ffn_dim": 64,
        **DEPTHS,
    }


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"blocks": ()}, "same numbers"),
        ({"blocks": (KEPT, KEPT.model_copy(update={"self_heads": (0, 1)}))}, "same numbers"),
        ({"blocks": ({**KEPT.model_dump(), "self_heads": (1, 0, 3)},) * 3}, "self_heads must rise"),
        ({"most_blocks": 4.0}, "number of blocks"),
        ({"least_blocks": 2.6}, "must rise"),
        ({"least_blocks": 1.0}, "rise from 2"),
        ({"heads": 3}, "Extra inputs"),
    ],
)
def test_a_pare_json_that_makes_no_sense_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        pare_of(**changes)


@pytest.mark.parametrize(
    ("config", "kept", "match"),
    [
        ({"num_layers": 2}, KEPT, "has 3 blocks, config.json 2"),
        ({}, KEPT.model_copy(update={"cross_heads": (0, 1, 4)}), "cross_heads beyond the 4"),
        ({}, KEPT.model_copy(update={"neurons": (0, 96)}), "neurons beyond the 96"),
        ({"added_kv_proj_dim": 64}, KEPT, "image to video"),
    ],
)
def test_another_transformer_is_refused(
    load_wan: Callable[..., Any], config: dict[str, Any], kept: KeptBlock, match: str
) -> None:
    own = {**load_wan().pipeline.transformer.config, **config}
    with pytest.raises(ValueError, match=match):
        narrow(WanTransformer3DModel.from_config(own), pare_of(blocks=(kept,) * 3))


def test_neurons_that_share_a_register_are_refused(load_student: Callable[..., Any]) -> None:
    model = load_student()
    shapes = model.catalog.shapes
    uneven = shapes.model_copy(update={"pare": shapes.pare.model_copy(update={"ffn_dim": 40})})
    with pytest.raises(ValueError, match="ffn_dim 40"):
        WanNetwork(model.pipeline.transformer, uneven)
