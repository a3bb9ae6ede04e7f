"""A job in the engine, and the flights its samples make."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from PIL.Image import Image
from torch import Tensor

from protocol.cost import Price
from protocol.jobs import GenerationRequest
from protocol.plan import Plan
from workers.core import Condition, Grid, Sample, Solver, Stack
from workers.engine.results import SampleResult
from workers.engine.starts import Start
from workers.models import LoadedModel


@dataclass(slots=True, eq=False)
class Job:
    """One request under way. `conditions` are its lanes' once the prompts are encoded, and `image`, which it
    starts from, is let go then.

    `preview_flop` is what its previews took so far. In the `background` it moves only while others do not.
    """

    id: str
    model: LoadedModel
    request: GenerationRequest
    plan: Plan
    price: Price
    start: Start
    stack: Stack
    flights: list[Flight] = field(default_factory=list)
    image: Image | None = None
    conditions: tuple[Condition, ...] | None = None
    background: bool = False
    started_s: float = 0.0
    preview_flop: int = 0
    stage_seconds: dict[str, float] = field(
        default_factory=lambda: {"encode": 0.0, "denoise": 0.0, "decode": 0.0}
    )

    @property
    def grid(self) -> Grid:
        return self.start.grid

    @property
    def solver(self) -> Solver:
        return self.start.solver


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What rows of one forward must share: weights (with a LoRA) and dtype, token grid, text length."""

    model: str
    variant: str | None
    grid: Grid
    shapes: tuple[torch.Size, ...]
    lora: str | None = None


@dataclass(slots=True, eq=False)
class Flight:
    """One sample from admission to its picture. `sample` is there from the encoding on, `result` after
    decoding. `estimate` holds the latents of a preview that is due.

    `arrival` counts admissions; `passed_over` counts turns its group moved without it.
    """

    job: Job
    index: int
    seed: int
    bytes: int
    arrival: int = 0
    sample: Sample | None = None
    estimate: Tensor | None = None
    passed_over: int = 0
    result: SampleResult | None = None

    @property
    def state(self) -> Sample:
        """The sample, once there is one."""
        assert self.sample is not None, "a flight is moved after its prompt is encoded"
        return self.sample

    @property
    def group(self) -> GroupKey:
        sample = self.state
        shapes = tuple(tensor.shape for tensor in sample.lanes[0].tensors)
        plan = sample.plan
        return GroupKey(self.job.model.name, plan.variant, sample.grid, shapes, plan.lora)
