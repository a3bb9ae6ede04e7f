"""Which blocks are missed least: leave out one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence


def least_missed(num_blocks: int, error: Callable[[Sequence[bool]], float]) -> Iterator[int]:
    """The blocks between the first and the last, each time the one that is missed least beside those before.

    Args:
        num_blocks: N.
        error: of a run of the blocks marked (N,).
    """
    kept = [True] * num_blocks

    def without(block: int) -> float:
        return error([on and place != block for place, on in enumerate(kept)])

    for _ in range(1, num_blocks - 1):
        block = min((place for place in range(1, num_blocks - 1) if kept[place]), key=without)
        kept[block] = False
        yield block
