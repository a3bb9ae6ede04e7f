"""A rank that decides nothing: it mirrors rank 0's samples and makes each of its turns."""

from __future__ import annotations

import torch

from workers.core import Condition, Point, Sample, Solver
from workers.engine.forward import Forward
from workers.engine.leader import RanksApart
from workers.engine.stacks import stacks_of
from workers.engine.stages import make_sample
from workers.engine.starts import noise_of
from workers.engine.step_plan import FreshSample, LanePlan, RowPlan, StepPlan, Stop
from workers.engine.tracks import Outcome, guided_output
from workers.engine.wire import hear, hear_tensor
from workers.models import Model, network_of
from workers.sampling import make_solver


class Follower:
    """Every rank's but the first.

    Args:
        model: loaded as rank 0 has loaded it.
        max_forecasts: of rank 0's engine settings.
    """

    def __init__(self, model: Model, max_forecasts: int) -> None:
        self._model = model
        self._max_forecasts = max_forecasts
        self._ranks = model.network.layout.ranks
        self._stacks = stacks_of(model)
        self._samples: dict[str, tuple[Sample, Solver]] = {}

    @torch.inference_mode()
    def run(self) -> None:
        """Follow until rank 0 ends.

        Raises:
            RuntimeError: rank 0 is gone, or this rank cannot do what it does. The process must end then.
        """
        while not isinstance(word := hear(), Stop):
            if isinstance(word, StepPlan):
                self._follow(word)

    def _follow(self, plan: StepPlan) -> None:
        for key in plan.gone:
            del self._samples[key]
        for fresh in plan.fresh:
            self._samples[fresh.key] = self._mirror(fresh)
        wanted = [self._check(row) for row in plan.rows]
        self._model.use_lora(plan.lora)
        Forward(network_of(self._model, plan.variant), self._settle, self._max_forecasts).run(wanted)

    def _mirror(self, fresh: FreshSample) -> tuple[Sample, Solver]:
        solver = make_solver(fresh.plan.solver)
        sample = make_sample(
            self._model,
            key=fresh.key,
            seed=fresh.seed,
            plan=fresh.plan,
            grid=fresh.token_grid,
            lanes=tuple(map(self._hear_lane, fresh.lanes)),
            guidance_scale=fresh.guidance_scale,
            latents=noise_of(self._model, fresh.token_grid, fresh.seed),
            solver=solver.start(fresh.schedule, self._model.dtype),
            stack=self._stacks(fresh.plan),
        )
        return sample, solver

    def _hear_lane(self, lane: LanePlan) -> Condition:
        tensors = tuple(hear_tensor(tensor, self._model.device) for tensor in lane.tensors)
        return Condition(tensors, lane.scalars)

    def _check(self, row: RowPlan) -> tuple[Sample, Point]:
        """The row's sample and point, which must be where rank 0 has them."""
        sample, solver = self._samples[row.key]
        point = solver.ask(sample)
        here = (sample.evaluation, point.sigma, point.timestep) if point is not None else None
        if point is None or here != (row.evaluation, row.sigma, row.timestep):
            raise RanksApart(f"{row.key} is at {here} here and not at {row}")
        return sample, point

    def _settle(self, outcome: Outcome) -> Point | None:
        sample, work = outcome.sample, outcome.work
        solver = self._samples[sample.key][1]
        sample.ledger.spend(work.flop, work.action, sample.num_lanes)
        solver.tell(sample, guided_output(outcome, self._ranks))
        return solver.ask(sample)
