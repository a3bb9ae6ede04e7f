"""Our corrector: many sites resampled from one score, and the next score says whether that was right.

A block of sites is drawn evenly, some positions apart, and resampled from the conditionals at the present
tokens z, which gives z'. Were the sites independent given the rest, that would be a Gibbs update. Whether
they are is seen from the score at z', which the step after needs anyway: where a site's conditional has
changed, other sites of the block had a say in it. With c and c' the conditionals at z and z', a segment of
the row keeps its new tokens with probability

    min(1, sqrt(prod over its sites of [c'(z'_i) c'(z_i)] / [c(z'_i) c(z_i)])),

the Metropolis-Hastings rule with log q(z')/q(z) read as the mean of what the single-site ratios at z and at
z' say of it. That is exact for blocks of one or two sites, and for any block where tokens interact in pairs;
in general it is right to second order. Segments are decided on their own, so that what is kept does not fall
with the length of the row: right as far as tokens of two segments do not interact within the block. A block
costs one call of score, its check none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from workers.kernels import gibbs_step
from workers.sampling.discrete.state import TokenState

_ROUNDS = 3
"""Of choosing sites; a fourth adds under a hundredth of the row."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Resample a block; what stood there before is remembered.

    Args:
        spacing: least distance between two sites of a block, 1 for neighbours.
        share: at most this share of the row's free tokens.
    """

    sigma: float
    spacing: int
    share: float
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        block = draw_block(state, self.spacing, self.share)
        sites = torch.where(block, state.everywhere(), -1)
        state.memory.update(tokens=state.tokens, ratios=ratios, block=block)
        numbers = state.uniforms(sites.shape[1], "block value")
        state.tokens = gibbs_step(state.tokens, ratios, sites, numbers)


@dataclass(frozen=True, slots=True)
class Verify:
    """Keep or take back the block, segment by segment; a segment's ratios are those of what it keeps.

    Args:
        segment: tokens decided on together; None: the whole row.
    """

    sigma: float
    segment: int | None
    leaves_ratios: ClassVar[bool] = True

    def apply(self, state: TokenState, ratios: Tensor) -> Tensor:
        memory = state.memory
        before, old, block = memory.pop("tokens"), memory.pop("ratios"), memory.pop("block")
        gain = log_gain(old, ratios, before, state.tokens)
        length = self.segment or state.tokens.shape[1]
        kept = keep_segments(state, torch.where(block, gain, 0.0), min(length, state.tokens.shape[1]))
        state.tokens = torch.where(kept, state.tokens, before)
        return torch.where(kept[..., None], ratios, old)


def draw_block(state: TokenState, spacing: int, share: float) -> Tensor:
    """(B, d) mask of sites, each row's own, even and blind to its tokens."""
    order = state.uniforms(state.tokens.shape[1], "block site")
    return choose_sites(order, ~state.given.mask, spacing, share)


def choose_sites(order: Tensor, free: Tensor, spacing: int, share: float) -> Tensor:
    """(B, d) mask of free sites at least `spacing` apart.

    Sites come by falling `order` and are taken if none before is too near, in rounds that each take those
    first among their neighbours. Of more than `share` of a row's free sites the first ones stay.

    Args:
        order: (B, d), in [0, 1).
        free: (B, d), bool.
    """
    order = order.masked_fill(~free, -1.0)
    block = torch.zeros_like(free)
    for _ in range(_ROUNDS):
        left = order.masked_fill(_near(block, spacing), -1.0)
        block = block | ((left >= _highest(left, spacing)) & (left >= 0))
    most = (free.sum(1, keepdim=True) * share).ceil().long().clamp(min=1, max=free.shape[1])
    ranked = order.masked_fill(~block, -1.0).sort(dim=1, descending=True).values
    return block & (order >= ranked.gather(1, most - 1))


def log_gain(old: Tensor, new: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """(B, d), float64: each site's part of the logarithm of the acceptance.

    Args:
        old, new: ratios (B, d, S) at the tokens `before` and `after`, (B, d).
    """
    values = torch.stack([before, after], -1)
    ends = [rows.double().gather(-1, values) / rows.double().sum(-1, keepdim=True) for rows in (old, new)]
    tiny = torch.finfo(torch.float64).tiny
    return (ends[1].clamp(min=tiny).log() - ends[0].clamp(min=tiny).log()).sum(-1) / 2


def keep_segments(state: TokenState, gain: Tensor, length: int) -> Tensor:
    """(B, d) mask, alike within a segment: whether its new tokens stay. Segments start at a random place."""
    rows, num_tokens = gain.shape
    offsets = (state.uniforms(1, "segment start") * length).long() if length < num_tokens else 0
    segments = (torch.arange(num_tokens, device=gain.device) + offsets) // length
    segments = segments.expand(rows, num_tokens)
    count = (num_tokens + length - 1) // length + 1
    members = segments[:, None] == torch.arange(count, device=gain.device)[:, None]
    sums = torch.where(members, gain[:, None], 0.0).sum(-1)
    kept = state.uniforms(count, "segment verdict").double().log() < sums
    return kept.gather(1, segments)


def _near(block: Tensor, spacing: int) -> Tensor:
    return _highest(block.float(), spacing) > 0


def _highest(values: Tensor, spacing: int) -> Tensor:
    """The largest of each site's neighbourhood, itself included."""
    width = 2 * spacing - 1
    return torch.nn.functional.max_pool1d(values[:, None], width, stride=1, padding=spacing - 1)[:, 0]
