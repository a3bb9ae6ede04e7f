"""What a job's samples run under: their grid, their solver, and the state each of them starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from protocol.given import kept_tokens
from protocol.jobs import GenerationInput
from protocol.plan import Plan
from workers.core import Grid, Schedule, ScheduledSolver, Solver, SolverState
from workers.models import LoadedModel, Model, TokenModel, picture_model
from workers.sampling import TokenSolver, at_nodes, flow_schedule, initial_noise, make_solver


class Start(Protocol):
    """Of one job; samples differ in their seeds."""

    @property
    def grid(self) -> Grid: ...
    @property
    def solver(self) -> Solver: ...

    def begin(self, seed: int) -> tuple[Tensor, SolverState]:
        """A sample's state, as `Batch` has latents, and its solver's memory."""
        ...


def start_of(model: LoadedModel, given: GenerationInput, plan: Plan) -> Start:
    """The start of a resolved request's samples.

    Raises:
        RheostatError: the plan names a sampler or options that there are not.
        LookupError: likewise, a solver.
    """
    if isinstance(model, TokenModel):
        return _start_of_tokens(model, given, plan)
    pictures = picture_model(model)
    assert given.width is not None, "resolve() fills the size"
    assert given.height is not None, "resolve() fills the size"
    assert given.num_inference_steps is not None, "resolve() fills the steps"
    grid = pictures.grid(given.width, given.height, given.num_frames)
    return FlowStart(pictures, plan, grid, make_solver(plan.solver), given.num_inference_steps)


@dataclass(frozen=True)
class FlowStart:
    """Noise, and the noise levels of the plan: those of so many steps, or nodes of the unabridged run.

    Args:
        unabridged: its steps.
    """

    model: Model
    plan: Plan
    grid: Grid
    solver: ScheduledSolver
    unabridged: int

    def begin(self, seed: int) -> tuple[Tensor, SolverState]:
        return noise_of(self.model, self.grid, seed), self.solver.start(self._schedule(), self.model.dtype)

    def _schedule(self) -> Schedule:
        config, tokens = self.model.scheduler_config, self.grid.num_tokens
        if not self.plan.fewer_steps:
            return flow_schedule(config, self.plan.num_inference_steps, tokens)
        return at_nodes(flow_schedule(config, self.unabridged, tokens), self.plan.nodes)


def noise_of(model: Model, grid: Grid, seed: int) -> Tensor:
    """Where a run of this seed begins, as `Batch` has latents."""
    return model.pack(initial_noise(model.noise_shape(grid), seed, model.latents_dtype, model.device))


@dataclass(frozen=True)
class TokenStart:
    """Even tokens, with what is given in its places."""

    model: TokenModel
    grid: Grid
    solver: TokenSolver
    given: list[int | None]

    def begin(self, seed: int) -> tuple[Tensor, SolverState]:
        return self.solver.begin(seed, self.given, self.model.device)


def _start_of_tokens(model: TokenModel, given: GenerationInput, plan: Plan) -> TokenStart:
    assert given.length is not None, "resolve() fills the length"
    solver = TokenSolver(
        plan.solver,
        plan.parameters,
        nfe=plan.evaluations,
        num_tokens=given.length,
        vocab_size=model.vocabulary.size,
        sigma_max=model.sigma_max,
    )
    return TokenStart(model, model.token_grid(given.length), solver, kept_tokens(given.given))
