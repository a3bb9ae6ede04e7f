"""The student computes what the teacher computes with the other heads and neurons silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from workers.models.pare import KeptBlock, Pare
from workers.models.wan import Wan
from workers.training.pare.calibration import Calibration, calibrate
from workers.training.pare.forward import batch_of, evaluate
from workers.training.pare.settings import CalibrationSettings
from workers.training.pare.slicing import channels_of, gain, norm_gains, slice_student
from workers.training.pare.sources import ClipSource
from workers.training.pare.stages import student_network

KEPT = KeptBlock(self_heads=(0, 2, 3), cross_heads=(1, 2, 3), neurons=tuple(range(5, 325)))
ALL = KeptBlock(self_heads=(0, 1, 2, 3), cross_heads=(0, 1, 2, 3), neurons=tuple(range(448)))


def pare_of(kept: KeptBlock) -> Pare:
    return Pare(teacher="", blocks=(kept,) * 4, least_blocks=4, most_blocks=4)


@pytest.fixture(scope="module")
def found(teacher: Wan, source: ClipSource) -> Calibration:
    settings = CalibrationSettings(samples=3, bins=2, batch=3)
    return calibrate(teacher.pipeline.transformer, source, settings, seed=0)


class KeptNorm(torch.nn.Module):
    """The teacher's norm as the student has it: over the kept channels, its gain corrected."""

    def __init__(self, norm: torch.nn.RMSNorm, channels: torch.Tensor, factor: float) -> None:
        super().__init__()
        self.norm, self.channels, self.factor = norm, channels, factor

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        kept = value[..., self.channels]
        root = (kept.square().mean(-1, keepdim=True) + self.norm.eps).sqrt()
        return self.factor * value / root * self.norm.weight


def silence(transformer: Any, found: Calibration, kept: KeptBlock) -> Any:
    """A whole transformer whose other heads and neurons say nothing."""
    for index, block in enumerate(transformer.blocks):
        for name, heads in (("attn1.", kept.self_heads), ("attn2.", kept.cross_heads)):
            attention, channels = block.get_submodule(name[:-1]), channels_of(heads, 16)
            query, key = norm_gains(found, index, name, channels)
            attention.norm_q = KeptNorm(attention.norm_q, channels, query)
            attention.norm_k = KeptNorm(attention.norm_k, channels, key)
            mute(attention.to_out[0].weight, channels.tolist())
        mute(block.ffn.net[2].weight, kept.neurons)
    return transformer


def mute(weight: torch.Tensor, heard: Sequence[int]) -> None:
    silent = torch.ones(weight.shape[1], dtype=torch.bool)
    silent[list(heard)] = False
    weight.data[:, silent] = 0.0


def inputs(source: ClipSource) -> Any:
    rows, sigma = torch.tensor([0, 1]), torch.tensor([0.9, 0.2])
    return batch_of(source.latents(rows), sigma, source.text(rows))


@torch.no_grad()
def test_sliced_is_the_masked_full_model(teacher: Wan, source: ClipSource, found: Calibration) -> None:
    stock = teacher.pipeline.transformer
    whole = WanTransformer3DModel.from_config(stock.config)
    whole.load_state_dict(stock.state_dict())
    silent = silence(whole, found, KEPT)
    batch = inputs(source)
    expected = silent(batch.latents, batch.timestep, batch.condition[0], return_dict=False)[0]

    student = slice_student(stock, pare_of(KEPT), found)
    got = student(batch.latents, batch.timestep, batch.condition[0], return_dict=False)[0]

    assert torch.allclose(got, expected, atol=1e-5)
    uncorrected = slice_student(stock, pare_of(KEPT), None)
    other = uncorrected(batch.latents, batch.timestep, batch.condition[0], return_dict=False)[0]
    assert not torch.allclose(other, expected, atol=1e-4)
    assert sum(each.numel() for each in student.parameters()) < sum(
        each.numel() for each in stock.parameters()
    )


@torch.no_grad()
def test_with_everything_kept_the_student_is_the_teacher(
    teacher: Wan, source: ClipSource, found: Calibration
) -> None:
    student = slice_student(teacher.pipeline.transformer, pare_of(ALL), found)
    network, batch = student_network(student, teacher, pare_of(ALL)), inputs(source)
    assert torch.equal(evaluate(network, batch).velocity, evaluate(teacher.network, batch).velocity)


def test_a_gain_by_hand() -> None:
    """Mean squares 4, 4, 1, 1 of two heads of two: the first has 4 of 2.5 in the mean."""
    squares = torch.tensor([4.0, 4.0, 1.0, 1.0])
    assert gain(squares, torch.tensor([0, 1])) == pytest.approx((4 / 2.5) ** 0.5)
    assert gain(squares, torch.tensor([2, 3])) == pytest.approx((1 / 2.5) ** 0.5)
    assert gain(squares, torch.arange(4)) == 1.0


def test_the_corrected_norm_leaves_channels_as_large_as_before() -> None:
    """On inputs as large as those measured; without the correction they would be off by the factor."""
    channels, squares = channels_of((0, 2, 3), 16), torch.linspace(0.1, 4.0, 64)
    factor = gain(squares, channels)
    value = squares.sqrt()[None]
    before = torch.nn.functional.rms_norm(value, (64,))[:, channels]
    after = factor * torch.nn.functional.rms_norm(value[:, channels], (48,))
    assert torch.allclose(before, after, rtol=1e-4)
    assert abs(factor - 1) > 0.01
