"""The engine: many jobs in, one turn at a time, events out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from PIL.Image import Image

from protocol.errors import JobFailed, OutOfMemory, RheostatError, SampleFailed
from protocol.jobs import GenerationRequest
from protocol.logs import of_job
from protocol.plan import Plan
from protocol.receipts import FLOP_PER_TFLOP
from workers.core import Stack
from workers.engine.events import Cancelled, EngineEvent, Failed, Finished, SampleFinished, Started, StepDone
from workers.engine.flights import Flights
from workers.engine.job import Flight, Job
from workers.engine.leader import leader_of
from workers.engine.making import Maker
from workers.engine.memory import free_bytes
from workers.engine.previews import due
from workers.engine.receipts import job_result
from workers.engine.results import Result, TurnReport
from workers.engine.settings import EngineSettings
from workers.engine.shares import Shares, weights_of
from workers.engine.stages import decode, encode, given_image, take_off
from workers.engine.turn import TurnOutcome
from workers.engine.turns import Turns
from workers.models import LoadedModel, TokenModel
from workers.sampling import check_flow_config

_LOG = logging.getLogger(__name__)


class Engine:
    """Runs jobs of one or more models. Not thread-safe, except that `cancel` may be called from anywhere.

    A job's way: `add` checks and queues it; `step` admits its samples as memory allows, encodes its prompts,
    moves them with their neighbours' and decodes them one by one. Several models share the time by `Shares`.

    Args:
        models: a model, or several with distinct names.
        settings: limits.
        build_stack: cache and router of a plan; None: the methods this build knows, with each model's
            calibration.

    Raises:
        ValueError: no models, two of one name, several for several ranks, a weight or a schedule for none.
    """

    def __init__(
        self,
        models: LoadedModel | Iterable[LoadedModel],
        settings: EngineSettings | None = None,
        *,
        build_stack: Callable[[Plan], Stack] | None = None,
    ) -> None:
        given = list(models) if isinstance(models, Iterable) else [models]
        self._settings = settings or EngineSettings()
        if self._settings.num_threads is not None:
            torch.set_num_threads(self._settings.num_threads)
        if not given or len({model.name for model in given}) < len(given):
            raise ValueError("an engine needs models, each with a name of its own")
        for model in given:
            layout = model.network.layout
            if not isinstance(model, TokenModel):
                check_flow_config(model.scheduler_config, model.catalog.solver, layout.prediction)
        self._models = {model.name: model for model in given}
        self._maker = Maker(self._models, build_stack)
        self._memory_bytes = self._settings.memory_bytes or int(
            self._settings.memory_share * min(free_bytes(model.device) for model in given)
        )
        weights = weights_of(self._models, self._settings.weights)
        self._shares = Shares(weights, self._settings.burst_s)
        self.leader = leader_of(given)
        self._turns = Turns(self._models, self._settings, self.leader)
        self._jobs: dict[str, Job] = {}
        self._flights = Flights(self._settings.max_samples, self._memory_bytes)
        self._cancelled: set[str] = set()
        self._added = 0

    @property
    def last_turn(self) -> TurnReport | None:
        """The last turn that ended."""
        return self._turns.last

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._jobs

    @property
    def busy(self) -> bool:
        """Whether any job is here that is not in the background."""
        return bool(self._claimed)

    @property
    def free_bytes(self) -> int:
        """Memory not spoken for by any job, those in the background aside."""
        return self._memory_bytes - sum(flight.bytes for flight in self._claimed)

    @property
    def running(self) -> Mapping[str, int]:
        """Samples in flight, by model, those in the background aside."""
        up = self._flights.up
        return {name: up[name] for name in self._models}

    def can_admit(self, request: GenerationRequest | Mapping[str, Any]) -> bool:
        """Whether all samples of the request would fit beside what is here now. Changes nothing.

        Raises:
            RheostatError: the request is not one `add` would take.
        """
        flights = self._maker.make(request).flights
        slots = self._settings.max_samples - len(self._claimed)
        return len(flights) <= slots and sum(flight.bytes for flight in flights) <= self.free_bytes

    def add(
        self,
        request: GenerationRequest | Mapping[str, Any],
        *,
        plan: Plan | None = None,
        key: str | None = None,
        image: Image | None = None,
        background: bool = False,
    ) -> str:
        """Queue a job; its samples start as memory allows, first come first.

        Args:
            request: as the caller wrote it, or resolved.
            plan: what the budget was turned into elsewhere; else made here.
            key: the job's id; else one is made.
            image: what it starts from, if that is fetched already; else its own, base64 or a data URL.
            background: it moves only while there are no others and takes neither memory, places nor credit
                from them. When one comes, its turn is given up between two blocks, and begun again later.

        Raises:
            RheostatError: unknown model, impossible input, budget too small, or larger than all memory.
            ValueError: the key is in use, or a run in the background has methods.
        """
        self._added += 1
        job = self._maker.make(request, plan, key or f"job-{self._added}", background=background)
        if job.id in self._jobs:
            raise ValueError(f"job {job.id} is in the engine already")
        if job.flights[0].bytes > self._memory_bytes:
            raise OutOfMemory(
                f"a sample needs {job.flights[0].bytes} bytes, the engine has {self._memory_bytes}"
            )
        job.image = given_image(job.request) if image is None else image
        self._jobs[job.id] = job
        self._flights.queue(job.flights)
        return job.id

    def cancel(self, job_id: str) -> bool:
        """Stop a job at the next turn; False if it is not here."""
        if job_id not in self._jobs:
            return False
        self._cancelled.add(job_id)
        return True

    def run(self, requests: Sequence[GenerationRequest | Mapping[str, Any]]) -> list[Result]:
        """Run these requests together to their ends; results in order.

        Raises:
            JobFailed: one of them failed; the others have run to their ends all the same.
        """
        job_ids = [self.add(request) for request in requests]
        results: dict[str, Result] = {}
        failures: list[JobFailed] = []
        while not self.idle:
            for event in self.step():
                if isinstance(event, Finished):
                    results[event.id] = event.result
                elif isinstance(event, Failed):
                    failures.append(JobFailed(f"{event.id}: {event.error.message}", code=event.error.code))
        if failures:
            raise failures[0]
        return [results[job_id] for job_id in job_ids]

    @torch.inference_mode()
    def step(self) -> list[EngineEvent]:
        """Drop what was cancelled, then work for one model: let in what fits, move one group, decode.

        With several models a turn may take several calls, and the others' work goes on between them.
        """
        events: list[EngineEvent] = []
        self._drop_cancelled(events)
        if urgent := self._flights.urgent:
            self._turns.give_up_background()
        name = self._shares.next(self._flights.sizes())
        if name is not None:
            started = time.perf_counter()
            self._admit(name, events)
            outcome = self._turns.advance(name, self._flights.flying(name))
            if outcome is not None:
                self._settle(name, outcome, events)
            self._land(name, events)
            if urgent:
                self._shares.charge(name, time.perf_counter() - started)
        return events

    @property
    def _claimed(self) -> list[Flight]:
        """All samples whose memory and places are spoken for."""
        return [flight for job in self._jobs.values() if not job.background for flight in job.flights]

    def _drop_cancelled(self, events: list[EngineEvent]) -> None:
        while self._cancelled:
            job_id = self._cancelled.pop()
            if job_id in self._jobs:
                self._remove(self._jobs[job_id])
                events.append(Cancelled(job_id))

    def _admit(self, name: str, events: list[EngineEvent]) -> None:
        """Let the model's waiting flights in while room and this turn's encodings last."""
        encodes = self._settings.max_encodes
        for flight in self._flights.fitting():
            if flight.job.model.name != name or flight.job.id not in self._jobs:
                continue
            fresh = flight.job.conditions is None
            if fresh and not encodes:
                return
            encodes -= fresh
            self._take_off(flight, events)

    def _take_off(self, flight: Flight, events: list[EngineEvent]) -> None:
        job = flight.job
        try:
            if job.conditions is None:
                job.started_s, began_s = time.perf_counter(), time.time()
                encode(job)
                events.append(Started(job.id, began_s, time.time()))
            take_off(flight)
        except Exception as error:
            self._fail(flight, error, events)
            return
        self._flights.take_off(flight)

    def _settle(self, name: str, outcome: TurnOutcome, events: list[EngineEvent]) -> None:
        """Tell of every evaluation; who is done goes to the decoder, who failed goes."""
        now_s = time.time()
        for move in outcome.moves:
            job = move.flight.job
            if self._jobs.get(job.id) is not job:
                continue  # ended while its forward was laid aside
            job.stage_seconds["denoise"] += move.line.seconds
            spent = move.spent_flop / FLOP_PER_TFLOP
            events.append(StepDone(job.id, move.flight.index, move.line, spent, job.model.name, now_s))
        for flight, error in outcome.failures:
            self._fail(flight, error, events)
        flying = self._flights.flying(name)
        for flight in [flight for flight in flying if flight.job.solver.ask(flight.state) is None]:
            self._flights.approach(flight)
        events += due(self._flights.flying(name))

    def _land(self, name: str, events: list[EngineEvent]) -> None:
        """Decode a part of the model's that wait: one where few do, more where they pile up."""
        landing = self._flights.landing(name)
        for flight in landing[: math.ceil(len(landing) / self._settings.decode_backlog)]:
            if flight.job.id not in self._jobs:
                continue
            self._flights.land(flight)
            began_s = time.time()
            try:
                flight.result = decode(flight, latents_only=self._settings.latents_only)
            except Exception as error:
                self._fail(flight, error, events)
                continue
            times = (began_s, time.time())
            events.append(SampleFinished(flight.job.id, flight.index, flight.result, *times))
            self._finish(flight.job, events)

    def _finish(self, job: Job, events: list[EngineEvent]) -> None:
        results = tuple(flight.result for flight in job.flights if flight.result is not None)
        if len(results) == len(job.flights):
            self._remove(job)
            events.append(Finished(job.id, job_result(job, results, time.perf_counter() - job.started_s)))

    def _fail(self, flight: Flight, error: Exception, events: list[EngineEvent]) -> None:
        """End the flight's job. Only its first failure is told."""
        job = flight.job
        if self._jobs.get(job.id) is not job:
            return
        if not isinstance(error, RheostatError):
            _LOG.error("the job failed", exc_info=error, extra=of_job(job.id))
            error = SampleFailed(f"the sample could not be computed ({type(error).__name__})")
        self._remove(job)
        events.append(Failed(job.id, error.info))

    def _remove(self, job: Job) -> None:
        """Forget a job wherever its flights are."""
        del self._jobs[job.id]
        self._flights.forget(job)
        self._turns.forget(job.model.name, self._jobs.values())
