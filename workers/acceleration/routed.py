"""What every router of this floor shares: the plan says how many blocks run, the method says which.

So a plan's cost is known before anything runs, and a cache beside the router can tell what an evaluation
would take. Parameters of a plan are its cache's where it has one; a router beside it runs under defaults.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from protocol.calibration import Calibration
from protocol.depths import LEAST_DEPTH
from protocol.plan import Plan
from workers.acceleration.anchored import MethodConfig
from workers.core import Layout, Point, Row, Sample
from workers.core.pare_router import DepthRouter

Config = TypeVar("Config", bound=MethodConfig)


class PlannedRouter(ABC, Generic[Config]):
    """Base of the routers.

    Args:
        layout: of the network.
        calibration: of the weights, if there is one.
        learned: the router trained with the weights, if there is one.
    """

    config_type: ClassVar[type[MethodConfig]] = MethodConfig

    def __init__(
        self, layout: Layout, calibration: Calibration | None = None, learned: DepthRouter | None = None
    ) -> None:
        self._layout = layout
        self._configs: dict[tuple[tuple[str, float], ...], Any] = {}

    @abstractmethod
    def mask(self, rows: Sequence[Row], points: Sequence[Point]) -> Sequence[tuple[bool, ...]]:
        """See `workers.core.Router`."""

    def check(self, plan: Plan) -> None:
        """Refuse a plan this router cannot follow.

        Raises:
            ValueError: depths that are not one an evaluation, or that the network does not have.
        """
        if len(plan.depths) != plan.evaluations:
            raise ValueError(f"{len(plan.depths)} depths for {plan.evaluations} evaluations")
        if any(not LEAST_DEPTH <= depth <= self._layout.num_blocks for depth in plan.depths):
            raise ValueError(
                f"depths {plan.depths} of a network of {self._layout.num_blocks} blocks, of which the first "
                "and the last always run"
            )

    def depth(self, sample: Sample) -> int:
        """How many blocks the plan has at the sample's present evaluation."""
        return sample.plan.depths[sample.evaluation]

    def config(self, sample: Sample) -> Config:
        """The sample's settings, checked once a set of values."""
        parameters = {} if sample.stack.cache is not None else sample.plan.parameters
        key = tuple(parameters.items())
        if key not in self._configs:
            self._configs[key] = self.config_type.model_validate(parameters)
        config: Config = self._configs[key]
        return config


class BlindRouter(PlannedRouter[MethodConfig]):
    """A router that looks at nothing but the plan."""

    def mask(self, rows: Sequence[Row], points: Sequence[Point]) -> Sequence[tuple[bool, ...]]:
        return [self.blocks(row.sample, self.depth(row.sample)) for row in rows]

    @abstractmethod
    def blocks(self, sample: Sample, depth: int) -> tuple[bool, ...]:
        """Which `depth` blocks run, the first and the last among them."""
