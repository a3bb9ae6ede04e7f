"""What rank 0 tells the other ranks before each of its turns: who moves, from where, and who is new or gone.

Masks, and the numbers that caches decide by, follow in the middle of the forward (`workers.core.Ranks`). All
else every rank works out for itself from the same numbers: noise from the seed, the solver's coefficients
from the schedule, anchors and forecasts from outputs that all ranks have.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter
from torch import Tensor

from protocol.plan import Plan
from workers.core import Condition, Grid, Sample, Schedule


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RowPlan(_Frozen):
    """A sample that moves, and the point of its solver where it is evaluated first."""

    key: str
    evaluation: int
    sigma: float
    timestep: float


class TensorPlan(_Frozen):
    """A tensor that follows the plan; `dtype` as torch names it, without the prefix."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: Tensor) -> TensorPlan:
        return cls(shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))

    def empty(self, device: torch.device) -> Tensor:
        return torch.empty(self.shape, dtype=getattr(torch, self.dtype), device=device)


class LanePlan(_Frozen):
    """A lane's condition."""

    tensors: tuple[TensorPlan, ...]
    scalars: tuple[float, ...]


class FreshSample(_Frozen):
    """A sample the other ranks do not have yet; the tensors of all its lanes follow, in order."""

    key: str
    seed: int
    plan: Plan
    grid: tuple[int, int, int]
    guidance_scale: float
    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    lanes: tuple[LanePlan, ...]

    @classmethod
    def of(cls, sample: Sample, lanes: tuple[Condition, ...]) -> FreshSample:
        """Of rank 0's sample; `lanes` are all, also those that are on other ranks."""
        schedule = sample.solver.schedule
        return cls(
            key=sample.key,
            seed=sample.seed,
            plan=sample.plan,
            grid=tuple(sample.grid),
            guidance_scale=sample.guidance_scale,
            sigmas=schedule.sigmas,
            timesteps=schedule.timesteps,
            lanes=tuple(
                LanePlan(tensors=tuple(map(TensorPlan.of, lane.tensors)), scalars=lane.scalars)
                for lane in lanes
            ),
        )

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.sigmas, self.timesteps)

    @property
    def token_grid(self) -> Grid:
        return Grid(*self.grid)


class StepPlan(_Frozen):
    """One turn, on the weights of `variant`, under a LoRA if there is one."""

    type: Literal["step"] = "step"
    variant: str | None
    lora: str | None = None
    rows: tuple[RowPlan, ...]
    fresh: tuple[FreshSample, ...] = ()
    gone: tuple[str, ...] = ()


class Beat(_Frozen):
    """Nothing to do; rank 0 lives."""

    type: Literal["beat"] = "beat"


class Stop(_Frozen):
    """Rank 0 has ended its work in order."""

    type: Literal["stop"] = "stop"


Word = TypeAdapter[StepPlan | Beat | Stop](StepPlan | Beat | Stop)
