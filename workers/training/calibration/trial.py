"""Plans run by the engine on the calibration's prompts: what they cost, how far they stray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from protocol.calibration import Calibration, CalibrationPoint
from protocol.cost import price
from protocol.jobs import GenerationRequest
from protocol.methods import FEWER_STEPS
from protocol.plan import Plan, student_plan
from protocol.receipts import Action
from workers.acceleration import Methods
from workers.engine import Engine, EngineSettings, Failed, Finished
from workers.models import Model
from workers.training.calibration.probe import relative, standard_request

_TAIL_SHARE = 0.05
_BATCH = 8


@dataclass(frozen=True)
class Outcome:
    """A plan on the prompts.

    Attributes:
        spent, distance: share of full compute and relative L2, one a prompt (B,).
        full: (B, N), the evaluations that ran every block.
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
    """Prompts with seeds and the ends of their unabridged runs.

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
        return Trial(self.model, self.prompts[:count], self.first_seed, self.final[:count], self.tables)

    def plan(
        self,
        method: str,
        evaluations: int,
        parameters: Mapping[str, float] | None = None,
        nodes: Sequence[int] = (),
        mode: Literal["soft", "hard"] = "soft",
    ) -> Plan:
        """The plan of a method that is granted so many evaluations."""
        cost = price(self.model.catalog, self._request(0))
        fewer = method in FEWER_STEPS
        return Plan(
            methods=(method,),
            num_inference_steps=(len(nodes) or evaluations) if fewer else self.steps,
            solver=method if fewer and method != "steps" else self.model.catalog.solver,
            granted_flop=evaluations * cost.per_step_flop[0],
            full_flop=cost.full_flop,
            mode=mode,
            parameters=dict(parameters or {}),
            nodes=tuple(nodes),
        )

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
                    full[place] = torch.tensor([line.action is Action.FULL for line in sample.receipt.steps])
        return Outcome(spent, relative(latents, self.final), full)

    def point(
        self, plan: Plan, dial: str | None = None, mode: Literal["soft", "hard"] | None = None
    ) -> CalibrationPoint:
        """Measure the plan and write it down as a point of its budget."""
        outcome = self.run(plan)
        return CalibrationPoint(
            method=plan.methods[0],
            steps=self.steps,
            budget=plan.granted_flop / plan.full_flop,
            spent=min(1.0, float(outcome.spent.mean())),
            distance=float(outcome.distance.mean()),
            tail=outcome.tail,
            parameters=plan.parameters,
            nodes=plan.nodes,
            mode=mode,
            dial=dial,
        )

    def _request(self, place: int) -> GenerationRequest:
        return standard_request(self.model, self.prompts[place], self.first_seed + place)
