"""Pods that take time to start, a queue by deadline, and what Prometheus, KEDA and the HPA make of a metric.

Simulated is what the chart sets: a scrape and a decision every 15 s on the last scrape's figures, the HPA's
tolerance of a tenth, at most as many pods again or four more at a time, down to the highest wish of five
minutes, to zero after ten minutes without work, the newest pods first. A pod runs one job at a time at the
speed of its GPU; told to go, it ends the job it has. GPU time counts from a pod's creation.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from benchmarks.autoscale.day import DAY_S, Job

TICK_S = 15.0
TOLERANCE = 0.1
DOWN_WINDOW_S = 300.0
COOLDOWN_S = 600.0
MAX_PODS = 32
BUSY_TICKS = 8
START_S = (90.0, 210.0)
"""A pod's start: place on a node, image, weights, warm-up; drawn evenly."""


@dataclass(slots=True)
class Pod:
    created_s: float
    ready_s: float
    job: Job | None = None
    began_s: float = 0.0
    leaving: bool = False


@dataclass(slots=True)
class Load:
    """What a scrape tells of a model; running jobs count whole, as the queue's books have it.

    Attributes:
        outstanding_s: TFLOPs queued and running over the model's speed.
        worked_s: TFLOPs ever run over the model's speed, a counter.
        busy: pods at work in the last two minutes, from that counter.
    """

    waiting: int = 0
    running: int = 0
    outstanding_s: float = 0.0
    worked_s: float = 0.0
    busy: float = 0.0


Policy = Callable[[Mapping[str, Load]], float]
"""Pods wanted, not rounded, from the last scrape, by model."""


@dataclass
class Outcome:
    """How a day went."""

    gpu_hours: float = 0.0
    busy_hours: float = 0.0
    most_pods: int = 0
    met: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def hits(self, kind: str) -> float:
        return self.met.get(kind, 0) / self.asked[kind]

    @property
    def least_hits(self) -> float:
        """Of the kind that fared worse: no scaler may pay for one with the other."""
        return min(self.hits(kind) for kind in self.asked)


class Cluster:
    """One class of workers through one day.

    Args:
        seed: of the pods' start-up times, which are drawn evenly from `start_s`.
    """

    def __init__(
        self, jobs: Sequence[Job], policy: Policy, *, seed: int, start_s: tuple[float, float] = START_S
    ) -> None:
        self._policy = policy
        self._start_s = start_s
        self._starts = np.random.default_rng([seed, 7])
        self._serial = count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._pods: list[Pod] = []
        self._idle: deque[Pod] = deque()
        self._queue: list[tuple[float, int, Job]] = []
        self._late: deque[Job] = deque()
        self._load: dict[str, Load] = {}
        self._seen: dict[str, Load] = {}
        self._scrapes: deque[dict[str, Load]] = deque(maxlen=BUSY_TICKS + 1)
        self._wishes: deque[tuple[float, int]] = deque()
        self._active_s = 0.0
        self._left = len(jobs)
        self.outcome = Outcome()
        for job in jobs:
            self.outcome.asked[job.kind] = self.outcome.asked.get(job.kind, 0) + 1
            self._load.setdefault(job.kind, Load())
            self._at(job.arrives_s, lambda now, job=job: self._arrive(now, job))
        self._at(0.0, self._tick)

    def run(self) -> Outcome:
        """The day, and the night after until all is done."""
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)
        for pod in tuple(self._pods):
            self._end(pod, now)
        return self.outcome

    def _at(self, when_s: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._serial), event))

    # -- jobs

    def _arrive(self, now: float, job: Job) -> None:
        self._load[job.kind].waiting += 1
        self._load[job.kind].outstanding_s += job.seconds
        heapq.heappush(self._queue, (job.due_s, next(self._serial), job))
        while self._idle and self._waits:
            self._take(self._idle.popleft(), now)

    @property
    def _waits(self) -> bool:
        return bool(self._queue or self._late)

    def _next(self, now: float) -> Job:
        """Earliest due first; what can no longer be in time comes last."""
        while self._queue:
            _, _, job = heapq.heappop(self._queue)
            if now + job.seconds <= job.due_s:
                return job
            self._late.append(job)
        return self._late.popleft()

    def _take(self, pod: Pod, now: float) -> None:
        pod.job, pod.began_s = self._next(now), now
        self._load[pod.job.kind].waiting -= 1
        self._load[pod.job.kind].running += 1
        self._at(now + pod.job.seconds, lambda then: self._finish(then, pod))

    def _finish(self, now: float, pod: Pod) -> None:
        job, pod.job = pod.job, None
        assert job is not None, "only a running job ends"
        self.outcome.met[job.kind] = self.outcome.met.get(job.kind, 0) + (now <= job.due_s)
        self.outcome.busy_hours += job.seconds / 3600
        self._left -= 1
        self._load[job.kind].running -= 1
        self._load[job.kind].outstanding_s -= job.seconds
        self._load[job.kind].worked_s += job.seconds
        self._free(pod, now)

    def _free(self, pod: Pod, now: float) -> None:
        if pod.leaving:
            self._end(pod, now)
        elif self._waits:
            self._take(pod, now)
        else:
            self._idle.append(pod)

    # -- pods

    def _tick(self, now: float) -> None:
        """Decide on the last scrape, then scrape."""
        if self._seen:
            self._scale(now, self._policy(self._seen))
        self._seen = self._scrape(now)
        if now < DAY_S or self._left:
            self._at(now + TICK_S, self._tick)

    def _scrape(self, now: float) -> dict[str, Load]:
        seen = {kind: replace(load) for kind, load in self._load.items()}
        for pod in self._pods:
            if pod.job is not None:
                seen[pod.job.kind].worked_s += now - pod.began_s
        self._scrapes.append(seen)
        for kind, load in seen.items():
            load.busy = (load.worked_s - self._scrapes[0][kind].worked_s) / (TICK_S * BUSY_TICKS)
        return seen

    def _scale(self, now: float, wanted: float) -> None:
        current = sum(not pod.leaving for pod in self._pods)
        if wanted > 0:
            self._active_s = now
        self._resize(now, current, self._to_zero_or(now, current, wanted))
        self.outcome.most_pods = max(self.outcome.most_pods, len(self._pods))

    def _to_zero_or(self, now: float, current: int, wanted: float) -> int:
        """KEDA's part, between none and one, then the HPA's."""
        if current == 0:
            self._wishes.clear()
            return int(wanted > 0)
        if now - self._active_s > COOLDOWN_S:
            return 0
        close = abs(wanted / current - 1) <= TOLERANCE
        wish = current if close else max(1, min(MAX_PODS, math.ceil(wanted)))
        self._wishes.append((now, wish))
        while self._wishes[0][0] < now - DOWN_WINDOW_S:
            self._wishes.popleft()
        highest = max(one for _, one in self._wishes)
        return min(wish, current + max(current, 4)) if wish > current else min(current, highest)

    def _resize(self, now: float, current: int, target: int) -> None:
        for _ in range(target - current):
            pod = Pod(now, now + self._starts.uniform(*self._start_s))
            self._pods.append(pod)
            self._at(pod.ready_s, lambda then, pod=pod: self._ready(then, pod))
        staying = sorted((pod for pod in self._pods if not pod.leaving), key=lambda pod: -pod.ready_s)
        for pod in staying[: max(0, current - target)]:
            pod.leaving = True
            if pod.job is None:
                self._end(pod, now)

    def _ready(self, now: float, pod: Pod) -> None:
        if not pod.leaving:
            self._free(pod, now)

    def _end(self, pod: Pod, now: float) -> None:
        self._pods.remove(pod)
        if pod in self._idle:
            self._idle.remove(pod)
        self.outcome.gpu_hours += (now - pod.created_s) / 3600
