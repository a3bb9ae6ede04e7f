"""What published methods fit to a model: TeaCache's polynomial, MagCache's ratios, SoftCap's scales.

Of two lanes all of them look at the conditional one, as the methods do when they decide for both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from workers.acceleration.observer import View, cues, measure
from workers.core import Stream
from workers.training.calibration.probe import Probe

_DEGREE = 4
_CUE_PERCENTILE = 0.95
_ANCHOR_EVERY, _MAX_SKIP = 4, 8
_EPS = 1e-8


@torch.inference_mode()
def teacache_polynomial(probe: Probe) -> list[float]:
    """From the relative change of the modulated input to that of the output, degree 4, highest power first.

    The output is what the solver is told, guided if there are two lanes.

    Source: TeaCache (Liu et al. 2024); fitted along unabridged runs.
    """
    inputs, outputs = [], []
    before: tuple[Tensor, Tensor] | None = None
    for index, stream in enumerate(_embedded(probe)):
        assert stream.signal is not None, "asked for"
        now = (stream.signal, probe.outputs[:, index])
        if before is not None:
            inputs += _relative_l1(before[0], now[0])
            outputs += _relative_l1(before[1], now[1])
        before = now
    return [float(weight) for weight in np.polyfit(inputs, outputs, _DEGREE)]


@torch.inference_mode()
def magcache_ratios(probe: Probe) -> list[float]:
    """Mean over tokens and prompts of ||R_t|| / ||R_(t-1)||, R what all blocks add; the first entry is 1.

    Source: MagCache (Ma et al. 2025).
    """
    ratios, before = [1.0], None
    num_blocks = probe.network.layout.num_blocks
    for embedded in _embedded(probe):
        size = (_through(probe, embedded, num_blocks).hidden[0] - embedded.hidden[0]).norm(dim=-1)
        if before is not None:
            ratios.append(float((size / before).mean()))
        before = size
    return ratios


@torch.inference_mode()
def drift_scales(probe: Probe) -> list[float]:
    """SoftCap's scales c: the 95th percentile of each cue at the steps between anchors `_ANCHOR_EVERY` apart.

    The cues are those of the last block's input along unabridged runs. Source: see `softcap_paper`.
    """
    found: list[list[float]] = []
    anchor: Tensor | None = None
    change = torch.zeros(())
    for index, embedded in enumerate(_embedded(probe)):
        now = _through(probe, embedded, probe.network.layout.num_blocks - 1).hidden[0].float()
        if index % _ANCHOR_EVERY == 0:
            change = torch.zeros_like(now) if anchor is None else (now - anchor) / _ANCHOR_EVERY
            anchor = now
            continue
        assert anchor is not None, "step 0 is an anchor"
        for row in range(len(probe)):
            numbers = measure([View(now[row], anchor[row], change[row])])[0]
            found.append(list(cues(numbers, index % _ANCHOR_EVERY, _MAX_SKIP, _EPS)))
    return torch.tensor(found).quantile(_CUE_PERCENTILE, dim=0).clamp(min=_EPS).tolist()


def _embedded(probe: Probe) -> Iterator[Stream]:
    """The conditional lanes before the first block at every step of the unabridged runs."""
    everyone = torch.arange(len(probe))
    for index, latents in enumerate(probe.trajectory()):
        yield probe.network.embed(probe.batch(latents, index, everyone, lanes=1), signal=True)


def _through(probe: Probe, stream: Stream, until: int) -> Stream:
    """The stream after blocks [0, until)."""
    for block in range(until):
        stream = stream.set(range(len(probe)), probe.network.block(block, stream))
    return stream


def _relative_l1(before: Tensor, now: Tensor) -> list[float]:
    """mean|now - before| / mean|before| of each row."""
    change, size = (now - before).abs().flatten(1).mean(1), before.abs().flatten(1).mean(1)
    ratios: list[float] = (change / size).tolist()
    return ratios
