"""What may be asked of Prometheus, as functions of a scrape, and the settings each is swept over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from benchmarks.autoscale.cluster import Load, Policy
from benchmarks.autoscale.day import Kind


@dataclass(frozen=True)
class Setting:
    """One policy with its targets, by model; with `spare`, pods are never busier than that share."""

    family: str
    targets: Mapping[str, float]
    spare: float | None = None

    def policy(self) -> Policy:
        weigh, targets, spare = FAMILIES[self.family], self.targets, self.spare

        def wanted(seen: Mapping[str, Load]) -> float:
            pods = sum(weigh(load) / targets[kind] for kind, load in seen.items())
            return pods if spare is None else max(pods, sum(load.busy for load in seen.values()) / spare)

        return wanted

    @property
    def label(self) -> str:
        values = sorted({*self.targets.values()})
        text = ", ".join(f"{kind} {value:g}" for kind, value in self.targets.items())
        text = f"{values[0]:g}" if len(values) == 1 else text
        return text if self.spare is None else f"{text}; busy {self.spare:g}"


def _waiting(load: Load) -> float:
    """`rheostat_queue_jobs`: what scaling on queue length usually means."""
    return load.waiting


def _jobs(load: Load) -> float:
    """Waiting and running: `rheostat_queue_jobs` and `rheostat_running_samples`."""
    return load.waiting + load.running


def _work(load: Load) -> float:
    """`rheostat_outstanding_tflops` over `rheostat_model_tflops_per_second`; its target is in seconds."""
    return load.outstanding_s


FAMILIES = {
    "waiting jobs": _waiting,
    "all jobs": _jobs,
    "all jobs, by model": _jobs,
    "work": _work,
    "work, by model": _work,
    "work, with spare": _work,
}
"""Rivals by the number of jobs, then ours; `with spare` is by model too."""

ONE_TARGET = {
    "waiting jobs": (0.5, 1, 2, 4, 8, 16),
    "all jobs": (0.5, 0.7, 1, 1.5, 2, 3, 4, 8),
    "work": (1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 900),
}
BY_MODEL = {
    "all jobs, by model": {"pictures": (0.5, 0.7, 1, 2), "videos": (2, 3, 5)},
    "work, by model": {"pictures": (2, 4, 8, 15), "videos": (600, 900)},
}


SPARE = {"pictures": (4, 15), "videos": (900,)}
BUSY = (0.15, 0.2, 0.3, 0.5, 0.7, 0.85)


def settings_for(kinds: tuple[Kind, ...]) -> list[Setting]:
    """Everything that is tried for a class of these models: rivals are tuned as widely as we are."""
    names = [kind.name for kind in kinds]
    found = [
        Setting(family, dict.fromkeys(names, target))
        for family, targets in ONE_TARGET.items()
        for target in targets
    ]
    if len(names) > 1:
        for family, grid in BY_MODEL.items():
            found += [Setting(family, targets) for targets in _choices(names, grid)]
    found += [
        Setting("work, with spare", targets, busy) for targets in _choices(names, SPARE) for busy in BUSY
    ]
    return found


def _choices(names: list[str], grid: Mapping[str, tuple[float, ...]]) -> list[dict[str, float]]:
    return [dict(zip(names, targets, strict=True)) for targets in product(*(grid[name] for name in names))]
