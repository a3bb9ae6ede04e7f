"""How to run the engine under a named method, and a toy whose features are a fixed curve.

On the real tiny FLUX: `plan_for` a body, then `run` one or several (body, plan) pairs in one engine. On the
toy: a `Curve` network, a `curve_sample`, and `Moves` to step it; all numbers can be worked by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from protocol.cost import DenoiserCost, price
from protocol.jobs import GenerationRequest
from protocol.plan import Plan
from protocol.receipts import Action
from protocol.resolve import resolve
from tests.acceleration.routing import calibration
from tests.engine.requests import drain
from tests.engine.toys import make_sample
from workers.acceleration import Methods
from workers.core import Batch, Hidden, Layout, Point, Prediction, Sample, Stream
from workers.engine import Engine, Finished, Result
from workers.engine.forward import Forward
from workers.engine.tracks import Outcome
from workers.sampling import guide, make_solver

Body = dict[str, Any]


def plan_for(
    model: Any,
    body: Body,
    method: str,
    parameters: Mapping[str, float] | None = None,
    *,
    granted: float = 1.0,
    mode: Literal["soft", "hard"] = "soft",
    nodes: tuple[int, ...] = (),
) -> Plan:
    """A plan that runs all of the body's steps under one method.

    Args:
        granted: share of full compute; above 1 no budget ever refuses anything in hard mode.
    """
    resolved = resolve(GenerationRequest.model_validate(body), model.catalog)
    steps = price(model.catalog, resolved).per_step_flop
    return Plan(
        methods=(method,),
        num_inference_steps=len(steps),
        solver="euler",
        granted_flop=int(granted * sum(steps)),
        full_flop=sum(steps),
        mode=mode,
        parameters=dict(parameters or {}),
        nodes=nodes,
    )


def run(model: Any, jobs: Sequence[tuple[Body, Plan | None]]) -> list[Result]:
    """Run all of them together in one engine; results in order. No plan: full compute."""
    engine = Engine(model)
    keys = [engine.add(body, plan=plan) for body, plan in jobs]
    results = {event.id: event.result for event in drain(engine) if isinstance(event, Finished)}
    return [results[key] for key in keys]


def run_one(model: Any, body: Body, plan: Plan | None = None) -> Result:
    """Run one job alone."""
    return run(model, [(body, plan)])[0]


def actions(result: Result) -> list[Action]:
    """What the first sample did at each evaluation."""
    return [line.action for line in result.samples[0].receipt.steps]


def reasons(result: Result) -> list[str | None]:
    """Why it did so."""
    return [line.reason for line in result.samples[0].receipt.steps]


@contextmanager
def block_calls(model: Any) -> Iterator[Counter[int]]:
    """How many rows each transformer block saw inside, by hooks on the modules."""
    net = model.pipeline.transformer
    rows: Counter[int] = Counter()

    def count(index: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, given: dict[str, Any], _output: Any) -> None:
            rows[index] += given["hidden_states"].shape[0]

        return hook

    blocks = [*net.transformer_blocks, *net.single_transformer_blocks]
    handles = [
        block.register_forward_hook(count(index), with_kwargs=True) for index, block in enumerate(blocks)
    ]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Curve:
    """A network whose features follow a curve of the evaluation, whatever the latents are.

    Its hidden state is 2 + curve(k) at evaluation k, every block adds (1 + curve(k)) x `gain`, the head adds
    nothing; the signal is the hidden state before block 0. So decisions never change what comes after them.
    Embed costs 1, a block 10, the head 2 FLOP a row. `calls` names the blocks run.
    """

    curve: Callable[[float], float]
    steps: int
    num_blocks: int = 4
    gain: float = 1.0
    calls: list[int] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return Layout(
            self.num_blocks, 2, Prediction.FLOW, lambda _grid: DenoiserCost(1, (10,) * self.num_blocks, 2)
        )

    def embed(self, batch: Batch, signal: bool = False) -> Stream:
        places = [round(self.steps * (1 - time / 1000)) for time in batch.timestep.tolist()]
        curve = torch.tensor([self.curve(place) for place in places]).reshape(-1, 1, 1)
        tokens = (2 + curve).expand_as(batch.latents).contiguous()
        return Stream((tokens,), (curve,), (), tokens if signal else None)

    def block(self, index: int, stream: Stream) -> Hidden:
        self.calls.append(index)
        return (stream.hidden[0] + self.gain * (1 + stream.fixed[0]),)

    def head(self, stream: Stream) -> Tensor:
        return stream.hidden[0]


def curve_sample(
    network: Curve,
    method: str,
    parameters: Mapping[str, float] | None = None,
    *,
    nodes: tuple[int, ...] = (),
    fulls: float | None = None,
    lanes: int = 1,
    tables: Mapping[str, Any] | None = None,
) -> Sample:
    """A sample of the toy under a method.

    Args:
        fulls: the grant, in full evaluations, in hard mode; None: twice what the whole run could cost.
        tables: the calibration's, if the method shall have one.
    """
    evaluation = network.layout.cost(make_sample("x", 0).grid).evaluation * lanes
    plan = Plan(
        methods=(method,),
        num_inference_steps=network.steps,
        solver="euler",
        granted_flop=int((2 * network.steps if fulls is None else fulls) * evaluation),
        full_flop=network.steps * evaluation,
        mode="hard",
        parameters=dict(parameters or {}),
        nodes=nodes,
    )
    sample = make_sample("toy", 1.0, steps=network.steps, lanes=lanes)
    sample.plan, sample.latents = plan, torch.ones(1, 32, 1)
    sample.stack = Methods(network.layout, None if tables is None else calibration(tables)).stack(plan)
    return sample


@dataclass
class Line:
    """One evaluation of the toy. `output` is its first number."""

    output: float
    action: Action
    reason: str | None
    risk: float | None
    threshold: float | None
    flop: int
    blocks_run: int


class Moves:
    """Steps toy samples to their ends; `lines` by the samples' keys."""

    def __init__(self, network: Any) -> None:
        self.lines: dict[str, list[Line]] = {}
        self._solver = make_solver("euler")
        self._forward = Forward(network, self._settle, max_forecasts=8)

    @torch.inference_mode()
    def finish(self, *samples: Sample) -> list[Line]:
        """Run all of them together to their ends; the first one's lines."""
        while wanted := [(sample, point) for sample in samples if (point := self._solver.ask(sample))]:
            self._forward.run(wanted)
        return self.lines[samples[0].key]

    def _settle(self, outcome: Outcome) -> Point | None:
        sample, work = outcome.sample, outcome.work
        sample.ledger.spend(work.flop, work.action, sample.num_lanes)
        line = Line(
            float(outcome.output.flatten()[0]),
            work.action,
            work.reason,
            work.risk,
            work.threshold,
            work.flop,
            work.blocks_run,
        )
        self.lines.setdefault(sample.key, []).append(line)
        self._solver.tell(sample, guide(outcome.output, sample.guidance_scale))
        return self._solver.ask(sample)


def moved(
    network: Curve, method: str, parameters: Mapping[str, float] | None = None, **given: Any
) -> list[Line]:
    """The lines of one toy sample under a method, run to its end; `given` as for `curve_sample`."""
    return Moves(network).finish(curve_sample(network, method, parameters, **given))


def fulls(lines: Sequence[Line]) -> list[int]:
    """The evaluations that were full."""
    return [index for index, line in enumerate(lines) if line.action is Action.FULL]
