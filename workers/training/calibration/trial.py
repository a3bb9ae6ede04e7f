"""Plans run by the engine on the calibration's prompts: what they cost, how far they stray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from protocol.calibration import Calibration, CalibrationPoint
from protocol.depths import line
from protocol.jobs import GenerationRequest
from protocol.methods import FEWER_STEPS, JOIN, LEARNED, ROUTERS
from protocol.plan import Plan, everything, student_plan
from protocol.receipts import Action
from protocol.wanted import Wanted
from workers.acceleration import Methods
from workers.engine import Engine, EngineSettings, Failed, Finished
from workers.models import Model
from workers.training.calibration.probe import relative, standard_request

_TAIL_SHARE = 0.05
_WHOLE = (Action.FULL, Action.ROUTED)
_BATCH = 8


@dataclass(frozen=True)
class Outcome:
    """A plan on the prompts.

    Attributes:
        spent, distance: share of full compute and relative L2, one a prompt (B,).
        full: (B, N), the evaluations that ran every block, or all that a router let run.
    """

    spent: Tensor
    distance: Tensor
    full: Tensor

    @property
    def tail(self) -> float:
        """Mean of the worst 5 %."""
        worst = max(1, round(_TAIL_SHARE * len(self.distance)))
        return float(self.distance.sort().values[-worst:].mean())


@dataclass(frozen=True)
class Trial:
    """Prompts with seeds and the ends of the runs they are compared with.

    Where the model has a learned router every method runs above it: the plan's evaluations are as deep as the
    line the router was trained on.

    Attributes:
        tables: the methods' tables as far as they are known.
        final: (B, ...).
    """

    model: Model
    prompts: Sequence[str]
    first_seed: int
    final: Tensor
    tables: Mapping[str, object]

    @property
    def steps(self) -> int:
        return self.model.catalog.defaults.num_inference_steps

    def few(self, count: int) -> Trial:
        """The first prompts only."""
        return replace(self, prompts=self.prompts[:count], final=self.final[:count])

    def plan(
        self,
        method: str,
        evaluations: int,
        parameters: Mapping[str, float] | None = None,
        nodes: Sequence[int] = (),
        *,
        mode: Literal["soft", "hard"] = "soft",
        places: Sequence[int] = (),
    ) -> Plan:
        """The plan of a method that is granted so many evaluations.

        Args:
            places: where a cache that keeps its own places will evaluate: what they cost depends on it where
                a router makes some deeper than others. Empty: the mean is reckoned with.
        """
        fewer = method in FEWER_STEPS
        steps = (len(nodes) or evaluations) if fewer else self.steps
        depths = self._line(steps, nodes if fewer else ())
        return Plan(
            methods=(LEARNED, method) if depths else (method,),
            num_inference_steps=steps,
            solver=method if fewer and method != "steps" else self.model.catalog.solver,
            granted_flop=self._cost(evaluations, depths, range(steps) if fewer else places or nodes),
            full_flop=self._wanted.full_flop,
            mode=mode,
            parameters=dict(parameters or {}),
            nodes=tuple(nodes),
            depths=depths,
        )

    def share(self, evaluations: int) -> float:
        """What so many evaluations cost in the mean, of full compute."""
        depths = self._line(self.steps, ())
        return self._cost(evaluations, depths, ()) / self._wanted.full_flop

    def depth_plan(self, router: str, flop: int, parameters: Mapping[str, float] | None = None) -> Plan:
        """The plan of a router alone: all steps, its line as high as so many FLOP pay."""
        wanted = replace(self._wanted, flop=flop)
        depths = wanted.fitted(wanted.sigmas())
        return Plan(
            methods=(router,),
            num_inference_steps=self.steps,
            solver=self.model.catalog.solver,
            granted_flop=wanted.cost_of(depths),
            full_flop=wanted.full_flop,
            parameters=dict(parameters or {}),
            depths=depths,
        )

    def heights(self, count: int) -> list[int]:
        """FLOP of `count` heights of a router's line, from its floor to its ceiling."""
        span = self._wanted.span
        least, most = (self.steps * self._wanted.costs.at(depth) for depth in (span.floor, span.ceiling))
        return [least + (most - least) * place // (count - 1) for place in range(count)]

    def _line(self, steps: int, nodes: Sequence[int]) -> tuple[int, ...]:
        """The learned router's depths at these nodes, or over a run of so many steps; empty without one."""
        if self.model.depth_router is None:
            return ()
        wanted = self._wanted
        return line(wanted.sigmas(nodes=nodes) if nodes else wanted.sigmas(steps), wanted.span)

    def _cost(self, evaluations: int, depths: Sequence[int], places: Sequence[int]) -> int:
        """FLOP of so many evaluations, those at `places` of these depths."""
        if not depths:
            return evaluations * self._wanted.costs.whole
        if places:
            return self._wanted.cost_of([depths[place] for place in places])
        return evaluations * self._wanted.cost_of(depths) // len(depths)

    @cached_property
    def _wanted(self) -> Wanted:
        return everything(self._request(0), self.model.catalog)

    def student_plan(self) -> Plan | None:
        """The plan of the student of few steps; None: the model has none for its default request."""
        return student_plan(self._request(0), self.model.catalog)

    def run(self, plan: Plan) -> Outcome:
        """Run all prompts under the plan, a few at a time in one engine."""
        calibration = Calibration.model_validate(
            {"digest": "", "created": 0, "model_created": 0, "num_inference_steps": self.steps}
            | {"settings": {}, "points": (), "tables": self.tables}
        )
        methods = Methods(self.model.network.layout, calibration, self.model.depth_router)
        settings = EngineSettings(max_rows=_BATCH, latents_only=True)
        engine = Engine(self.model, settings, build_stack=methods.stack)
        places = {engine.add(self._request(place), plan=plan): place for place in range(len(self.prompts))}
        spent, latents = torch.zeros(len(places)), self.final.clone()
        full = torch.zeros(len(places), plan.evaluations, dtype=torch.bool)
        while not engine.idle:
            for event in engine.step():
                if isinstance(event, Failed):
                    raise RuntimeError(f"{plan.methods} with {plan.parameters}: {event.error.message}")
                if isinstance(event, Finished):
                    place, (sample,) = places[event.id], event.result.samples
                    spent[place] = event.result.receipt.spent
                    latents[place] = sample.latents[0]
                    full[place] = torch.tensor([each.action in _WHOLE for each in sample.receipt.steps])
        return Outcome(spent, relative(latents, self.final), full)

    def point(
        self, plan: Plan, dial: str | None = None, mode: Literal["soft", "hard"] | None = None
    ) -> CalibrationPoint:
        """Measure the plan and write it down as a point of its budget."""
        outcome = self.run(plan)
        return CalibrationPoint(
            method=JOIN.join(plan.methods),
            steps=self.steps,
            budget=plan.granted_flop / plan.full_flop,
            spent=min(1.0, float(outcome.spent.mean())),
            distance=float(outcome.distance.mean()),
            tail=outcome.tail,
            parameters=plan.parameters,
            nodes=plan.nodes,
            depths=() if plan.methods[-1] in ROUTERS else plan.depths,
            mode=mode,
            dial=dial,
        )

    def _request(self, place: int) -> GenerationRequest:
        return standard_request(self.model, self.prompts[place], self.first_seed + place)
