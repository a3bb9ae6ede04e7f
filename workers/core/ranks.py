"""Processes that share the forwards of the same samples, as caches and solvers see them.

Hidden states may be split among ranks by tokens, a sample's lanes by rank. What a decision is made from is
therefore never a rank's own number: it is rank 0's, and everybody hears it.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Ranks(Protocol):
    """What ranks say to each other in the middle of a forward. All of them make the same calls in order."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    @property
    def lane_ranks(self) -> int:
        """Among how many of them a sample's lanes are split."""
        ...

    @property
    def lane(self) -> int:
        """Which lane is this rank's, where they are split."""
        ...

    def total(self, sums: Tensor) -> Tensor:
        """Sums over the first lane's tokens that each rank holds, added up on rank 0, and heard by all."""
        ...

    def told(self, numbers: Tensor) -> Tensor:
        """Rank 0's numbers; of the others only shape and dtype count."""
        ...

    def join(self, output: Tensor) -> Tensor:
        """A split sample's outputs (lanes, ...) of all lanes, in order."""
        ...


class Alone:
    """One process, which has everything."""

    size = 1
    lane_ranks = 1
    lane = 0

    def total(self, sums: Tensor) -> Tensor:
        return sums

    def told(self, numbers: Tensor) -> Tensor:
        return numbers

    def join(self, output: Tensor) -> Tensor:
        return output


ALONE = Alone()
