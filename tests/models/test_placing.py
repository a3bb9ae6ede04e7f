"""What settings do to a denoiser: narrow weights, other attention, offloaded and compiled blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from tests.engine.clips import clip
from tests.engine.requests import request
from workers.engine import Engine, self_test
from workers.models import LoadOptions, load
from workers.models.placing import attention_backends, prepare


def made(model: Any, body: dict[str, Any]) -> torch.Tensor:
    return Engine(model).run([body])[0].samples[0].latents


def price_of(model: Any, body: dict[str, Any]) -> tuple[float, float]:
    receipt = Engine(model).run([body])[0].receipt
    return receipt.tflops, receipt.full_tflops


@pytest.mark.parametrize(("weights", "bound"), [("int8", 0.02), ("float8", 0.08)])
def test_narrow_weights_err_little_and_cost_the_same(
    flux_root: Path, load_flux: Callable[..., Any], weights: Any, bound: float
) -> None:
    """A weight is off by at most 1/255 of its row's largest in int8, by 1/16 of itself in float8 (3 bits)."""
    plain = load_flux()
    narrow = load(flux_root / "plain", dtype="float32", options=LoadOptions(weights=weights))
    self_test(narrow)
    linear = narrow.pipeline.transformer.transformer_blocks[0].attn.to_q
    assert type(linear.weight.data) is not torch.Tensor
    exact, rounded = made(plain, request()), made(narrow, request())
    error = (exact - rounded).norm() / exact.norm()
    assert 0 < error < bound
    assert price_of(narrow, request()) == price_of(plain, request())
    assert narrow.catalog.digest != plain.catalog.digest
    assert narrow.base_digest == plain.base_digest


def test_an_unknown_attention_backend_is_refused_with_those_that_run(flux_root: Path) -> None:
    options = LoadOptions(attention_backend="sage")
    with pytest.raises(ValueError, match=r"attention_backend 'sage' cannot run here; allowed: .*native"):
        load(flux_root / "plain", dtype="float32", options=options)


def test_torchs_own_attention_by_its_name_is_the_default(
    flux_root: Path, load_flux: Callable[..., Any]
) -> None:
    named = load(flux_root / "plain", dtype="float32", options=LoadOptions(attention_backend="native"))
    assert "native" in attention_backends()
    assert torch.equal(made(named, request()), made(load_flux(), request()))


@pytest.mark.parametrize("family", ["flux", "wan"])
def test_offloaded_blocks_come_and_go(
    family: str,
    flux_root: Path,
    wan_root: Path,
    load_flux: Callable[..., Any],
    load_wan: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On one device they move nowhere; that every block but the first is brought in and sent back is seen."""
    from diffusers.hooks.group_offloading import ModuleGroup

    folder, body, plain = {
        "flux": (flux_root / "plain", request(), load_flux),
        "wan": (wan_root / "unipc", clip(guidance_scale=1.0), load_wan),
    }[family]
    model = load(folder, dtype="float32", options=LoadOptions(offload="blocks"))
    moves: list[str] = []
    for name in ("onload_", "offload_"):
        original = getattr(ModuleGroup, name)
        monkeypatch.setattr(
            ModuleGroup, name, lambda group, _name=name, _real=original: (moves.append(_name), _real(group))
        )
    assert torch.equal(made(model, body), made(plain(), body))
    evaluations, blocks = 3, model.network.layout.num_blocks
    assert moves == ["onload_", "offload_"] * evaluations * (blocks - 1)


def test_compiling_marks_the_repeated_blocks_and_nothing_else(flux_root: Path) -> None:
    """Compiling itself takes half a minute and is not done here."""
    model = load(flux_root / "plain", dtype="float32", options=LoadOptions(compile_blocks=True))
    transformer = model.pipeline.transformer
    compiled = {name for name, module in transformer.named_modules() if module._compiled_call_impl}
    assert compiled == {
        "transformer_blocks.0",
        "single_transformer_blocks.0",
        "single_transformer_blocks.1",
    }
    assert not model.exact


def test_a_ring_needs_a_backend_that_tells_its_sums(load_flux: Callable[..., Any]) -> None:
    """No ring can run here; that it is refused before its first step can be shown."""
    transformer = load_flux().pipeline.transformer
    options = LoadOptions(mesh=cast(Any, SimpleNamespace(passes_keys=True)))
    with pytest.raises(ValueError, match=r"attention_split 'ring' needs .* allowed: .*_native_flash"):
        prepare(transformer, torch.device("cpu"), options)
