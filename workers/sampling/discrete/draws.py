"""Uniform numbers that belong to a row: a function of its key, the evaluation and the purpose alone.

No generator is advanced, so a row draws the same numbers alone, in any company, and after a resume. SHA-256
makes the keys, SplitMix64 the numbers (Steele et al. 2014), in int64 arithmetic that every device does alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_BITS = 24


def row_keys(seeds: Sequence[int], sample: int | str = 0) -> Tensor:
    """A key a seed, (B,) int64.

    Args:
        seeds: of the rows.
        sample: tells apart what else may share a seed.
    """
    return torch.tensor([_digest(seed, sample) for seed in seeds], dtype=torch.int64)


def uniforms(keys: Tensor, count: int, evaluation: int, purpose: str) -> Tensor:
    """(B, count), float32 in [0, 1), multiples of 2**-24.

    Args:
        keys: (B,), int64, a row's own.
        evaluation: calls of score made so far.
        purpose: what the numbers are for; two purposes never share one.
    """
    salt = torch.tensor(_digest(evaluation, purpose), dtype=torch.int64, device=keys.device)
    starts = _mix(keys ^ salt)
    places = torch.arange(1, count + 1, device=keys.device)
    mixed = _mix(starts[:, None] + places * _signed(_GOLDEN))
    numbers: Tensor = _shift(mixed, 64 - _BITS).to(torch.float32) / 2**_BITS
    return numbers


def _mix(state: Tensor) -> Tensor:
    """SplitMix64's finaliser; int64 products wrap."""
    state = (state ^ _shift(state, 30)) * _signed(_FACTORS[0])
    state = (state ^ _shift(state, 27)) * _signed(_FACTORS[1])
    return state ^ _shift(state, 31)


def _shift(state: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros."""
    return (state >> bits) & ((1 << 64 - bits) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _digest(*parts: int | str) -> int:
    """64 bits of SHA-256 over the parts, as a signed number."""
    text = "|".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)
