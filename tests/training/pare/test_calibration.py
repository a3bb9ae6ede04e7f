"""Heads whose attention is known give the role that is known; importances are worked by hand."""

from __future__ import annotations

from dataclasses import fields
from math import log
from pathlib import Path

import pytest
import torch

from workers.models.wan import Wan
from workers.training.pare.calibration import Calibration, calibrate, in_slice_mass
from workers.training.pare.roles import roles_report
from workers.training.pare.settings import CalibrationSettings, PruningSettings
from workers.training.pare.sources import ClipSource

SMALL = CalibrationSettings(samples=4, bins=2, queries=64, batch=3)


def slice_marks(num_slices: int, tokens: int, strength: float) -> torch.Tensor:
    """(1, F * tokens, 1, F): a token's only mark is its slice."""
    marks = torch.eye(num_slices).repeat_interleave(tokens, dim=0)
    return strength * marks[None, :, None]


@pytest.mark.parametrize(("num_slices", "tokens"), [(5, 16), (3, 4), (21, 70)])
def test_attention_within_a_slice_gives_one_and_even_attention_one_over_f(
    num_slices: int, tokens: int
) -> None:
    confined = slice_marks(num_slices, tokens, 100.0)
    assert in_slice_mass(confined, confined, num_slices, 64).item() == pytest.approx(1.0, abs=1e-6)
    even = torch.zeros(1, num_slices * tokens, 1, num_slices)
    assert in_slice_mass(even, confined, num_slices, 64).item() == pytest.approx(1 / num_slices, abs=1e-6)


def test_a_mass_between_by_hand() -> None:
    """Two slices of two tokens; own slice scores log 3 after the scale, the other 0: 3 / (3 + 1)."""
    marks = slice_marks(2, 2, 1.0)
    query = marks * log(3) * 2**0.5
    assert in_slice_mass(query, marks, 2, 64).item() == pytest.approx(0.75, abs=1e-6)


def test_heads_and_rows_are_kept_apart() -> None:
    confined, even = slice_marks(3, 4, 100.0), torch.zeros(1, 12, 1, 3)
    query = torch.cat([torch.cat([confined, even], dim=2), torch.cat([even, confined], dim=2)])
    key = torch.cat([confined, confined], dim=2).expand(2, -1, -1, -1)
    mass = in_slice_mass(query, key, 3, 2)
    assert torch.allclose(mass, torch.tensor([[1.0, 1 / 3], [1 / 3, 1.0]]), atol=1e-6)


@pytest.fixture(scope="module")
def found(teacher: Wan, source: ClipSource) -> Calibration:
    return calibrate(teacher.pipeline.transformer, source, SMALL, seed=0)


def test_what_is_seen_is_what_the_attention_does(teacher: Wan, source: ClipSource) -> None:
    """In one forward: v~ from the projection's input, the attention from diffusers' own product."""
    seen: list[tuple[torch.Tensor, ...]] = []
    attention, block = teacher.pipeline.transformer.blocks[1].attn1, teacher.pipeline.transformer.blocks[1]
    product = torch.nn.functional.scaled_dot_product_attention

    def spy(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: object, **more: object
    ) -> object:
        seen.append((query, key, value))
        return product(query, key, value, *rest, **more)

    one = CalibrationSettings(samples=1, bins=1, batch=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
        got = calibrate(teacher.pipeline.transformer, source, one, seed=0)
    query, key, value = [each for each in seen if each[0].shape[2] == each[1].shape[2] == 80][1]
    weights = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1)
    inside = torch.block_diag(*[torch.ones(16, 16)] * 5)
    assert torch.allclose(got.in_slice[1], (weights * inside).sum(-1).mean((0, 2)), atol=1e-5)
    norms = attention.to_out[0].weight.unflatten(1, (4, 16)).norm(dim=(0, 2))
    by_hand = log(1.5) * (weights @ value)[0].norm(dim=(1, 2)) * norms  # the one bin's middle is .5
    assert torch.allclose(got.self_importance[1], by_hand, rtol=1e-4)
    projected: list[torch.Tensor] = []
    handle = attention.to_k.register_forward_hook(lambda _module, _args, output: projected.append(output))
    calibrate(teacher.pipeline.transformer, source, one, seed=0)
    handle.remove()
    assert torch.allclose(got.self_key[1], projected[-1][0].square().mean(0), rtol=1e-5)
    assert not attention.norm_k._forward_pre_hooks
    assert not block._forward_hooks


def test_shapes_and_ranges(found: Calibration) -> None:
    shapes = {each.name: tuple(getattr(found, each.name).shape) for each in fields(found)}
    assert shapes["self_importance"] == shapes["cross_importance"] == shapes["in_slice"] == (4, 4)
    assert shapes["in_slice_by_level"] == (2, 4, 4)
    assert shapes["self_key"] == shapes["cross_query"] == (4, 64)
    assert found.num_slices == 5
    assert ((found.in_slice > 0) & (found.in_slice < 1)).all()
    assert torch.allclose(found.in_slice_by_level.mean(0), found.in_slice, atol=1e-6)
    assert (found.residual > 0).all()


def test_it_is_repeatable_and_kept(
    teacher: Wan, source: ClipSource, found: Calibration, tmp_path: Path
) -> None:
    found.save(tmp_path / "calibration.safetensors")
    kept = Calibration.load(tmp_path / "calibration.safetensors")
    again = calibrate(teacher.pipeline.transformer, source, SMALL, seed=0)
    for each in fields(found):
        assert torch.equal(getattr(kept, each.name), getattr(found, each.name))
        assert torch.equal(getattr(again, each.name), getattr(found, each.name))


def test_the_report_counts_heads_by_role() -> None:
    """F = 5, r' = (r - .2) / .8: .2 is 0, temporal; .5 is .375, mixed; .9 is .875, spatial."""
    masses = torch.tensor([[0.2, 0.5, 0.9], [0.9, 0.9, 0.41]])
    rest = {each.name: torch.zeros(2, 3) for each in fields(Calibration)}
    made = Calibration(
        **rest | {"in_slice": masses, "in_slice_by_level": masses[None], "slices": torch.tensor([5])}
    )
    report = roles_report(made, PruningSettings())
    assert report["total"] == {"spatial": 3, "mixed": 1, "temporal": 2}
    assert [block["temporal"] for block in report["blocks"]] == [1, 1]
    assert sum(report["blocks"][0]["bars"]) == 3
    assert report["even"] == pytest.approx(0.2)
