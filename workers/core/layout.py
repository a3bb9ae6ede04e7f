"""What the engine must know of a network before it runs: its blocks, its target, its cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from protocol.cost import DenoiserCost
from workers.core.ranks import ALONE, Ranks


class Prediction(StrEnum):
    """What a network's output estimates."""

    FLOW = "flow"
    """noise - data, the velocity of a straight path"""
    X0 = "x0"
    """the data"""
    EPS = "eps"
    """the noise"""
    LOG_RATIO = "log_ratio"
    """for each place and token, the log of how likelier the sequence is with that token there"""


class Grid(NamedTuple):
    """A sample's tokens, rows x columns x frames. Rows of one batch share it."""

    height: int
    width: int
    num_frames: int = 1

    @property
    def num_tokens(self) -> int:
        return self.height * self.width * self.num_frames


@dataclass(frozen=True, slots=True)
class Layout:
    """A network's outline.

    Args:
        num_blocks: at which a stream may be cut.
        max_lanes: 2 where true guidance is possible.
        prediction: what the output is.
        cost: a lane's on a grid, whoever computes it.
        ranks: that share its forwards.
        clamp: the least number a prediction of x0 is divided by to make a flow of it (sigma else), or one of
            the noise (1 - sigma else). At 0 a run's last step lands on its x0; above, it stops short, as in
            training.
    """

    num_blocks: int
    max_lanes: int
    prediction: Prediction
    cost: Callable[[Grid], DenoiserCost]
    ranks: Ranks = ALONE
    clamp: float = 0.0
