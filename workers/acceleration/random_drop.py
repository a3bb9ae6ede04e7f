"""Random block dropping: what a router must beat. The draw is the sample's own, the same in any company."""

from __future__ import annotations

from hashlib import sha256

from workers.acceleration.routed import BlindRouter
from workers.core import Sample

_PURPOSE = "random-drop"


class RandomDrop(BlindRouter):
    """The first and the last block and others drawn anew at each evaluation, all with the same chance.

    Blocks go by the hash of (seed, evaluation, purpose, block): no generator, so nothing to save and resume.
    """

    def blocks(self, sample: Sample, depth: int) -> tuple[bool, ...]:
        last = self._layout.num_blocks - 1
        drawn = sorted(range(1, last), key=lambda block: _draw(sample, block))
        kept = {0, last, *drawn[: depth - 2]}
        return tuple(block in kept for block in range(last + 1))


def _draw(sample: Sample, block: int) -> bytes:
    return sha256(f"{sample.seed}/{sample.evaluation}/{_PURPOSE}/{block}".encode()).digest()
