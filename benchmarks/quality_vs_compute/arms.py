"""What is compared: our methods by public request, released peers at their tuned settings, references.

An arm is one method at one setting. `rank` orders the arms within a chunk of pairs: what the verdicts rest on
comes first, so that a run that is stopped has it for all the pairs it reached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.quality_vs_compute.peers import STEPS, Peer
from benchmarks.quality_vs_compute.tune import Row, front
from protocol.catalog import CatalogEntry
from protocol.jobs import GenerationRequest
from protocol.methods import CACHES, FEWER_STEPS
from protocol.plan import make_plan
from protocol.resolve import resolve

BUDGETS = (0.75, 0.5, 0.35, 0.25, 0.2)
JUDGED_BUDGET = 0.35
FULL, ODE, REAL, PLAIN, OURS, FIXED = "full", "ode", "real", "plain", "ours", "softcap-fixed"
FAMILIES: dict[str, tuple[str, ...]] = {
    "diffusers": ("first_block", "taylorseer_attention", "taylorseer_modules", "taylorseer_lite", "magcache"),
    "cache-dit": ("dbcache", "dbcache_taylor", "dbprune"),
}
_BEST_PEER = "diffusers taylorseer_lite"  # on calibration captions; it decides the joint front nearly alone
_RANKS = {FULL: 0, ODE: 1, REAL: 1, OURS: 2, "static": 3, FIXED: 4, _BEST_PEER: 5, PLAIN: 6}
_LAST = 7
_PEER_SHARES = (0.15, 0.8)

Group = Literal["reference", "ours", "rival", "diffusers", "cache-dit"]


@dataclass(frozen=True)
class Scale:
    """How much is run. All counts of pairs are multiples of `chunk`.

    Args:
        pairs: of the arms that decide: references, ours, the searched static, the best peer.
        rest_pairs: of all others.
        judge_pairs: of the unabridged run and of ours at the judged budget.
        ode_pairs: with the ODE's solution, and with features in every arm.
        ode_steps: of Heun's method, two evaluations each.
        chunk: pairs that are run and stored together.
    """

    pairs: int = 1000
    rest_pairs: int = 1000
    judge_pairs: int = 2000
    ode_pairs: int = 200
    ode_steps: int = 120
    steps: int = STEPS
    chunk: int = 50
    budgets: tuple[float, ...] = BUDGETS

    def pairs_of(self, line: str) -> tuple[int, int]:
        """How many pairs an arm of this line is run on, and on how many its images' features are taken.

        Features cost 45 ms each, a good part of a short run.
        """
        if line in _RANKS:
            return self.pairs, self.pairs
        return self.rest_pairs, min(self.ode_pairs, self.rest_pairs)


@dataclass(frozen=True)
class Arm:
    """One method at one setting.

    Args:
        name: unique; names its files.
        line: what it is a point of in the plot: the method, the library and its cache, or the reference.
        group: whose it is.
        pairs: how many it is run on.
        features: on how many of them EfficientNet reads the images.
        budget: as a request writes it; of our own arms.
        peer: of the released ones.
    """

    name: str
    line: str
    group: Group
    pairs: int
    features: int
    budget: Mapping[str, Any] = field(default_factory=dict)
    peer: Peer | None = None

    @property
    def rank(self) -> int:
        return _RANKS.get(self.line, _LAST)

    @property
    def fraction(self) -> float:
        """The share of compute asked for; 1 where none was."""
        return float(self.budget.get("fraction", 1.0))


def references(scale: Scale) -> list[Arm]:
    """The unabridged run, the ODE's solution, real scenes, and the pipeline without a cache for its time."""
    few = min(scale.ode_pairs, scale.pairs)
    return [
        Arm(FULL, FULL, "reference", scale.judge_pairs, scale.pairs),
        Arm(ODE, ODE, "reference", few, 0),
        Arm(REAL, REAL, "reference", scale.pairs, scale.pairs),
        Arm(PLAIN, PLAIN, "reference", few, 0, peer=Peer("plain")),
    ]


def own_arms(scale: Scale, entry: CatalogEntry, methods: Sequence[str] | None = None) -> list[Arm]:
    """The planner's choice, its path without adaptivity, and every method by name, at every budget.

    A method whose plan is the planner's own choice at a budget is left out there: it would run twice. The
    static schedule stays, as a verdict rests on it.
    """
    named = (*CACHES, *FEWER_STEPS) if methods is None else methods
    return [arm for budget in scale.budgets for arm in _at_budget(scale, entry, budget, named)]


def _at_budget(scale: Scale, entry: CatalogEntry, budget: float, methods: Sequence[str]) -> Iterator[Arm]:
    ours: dict[str, Any] = {"fraction": budget}
    judged = scale.judge_pairs if budget == JUDGED_BUDGET else scale.pairs
    yield Arm(f"{OURS}@{budget:g}", OURS, "ours", judged, scale.pairs, ours)
    fixed = {**ours, "methods": ["softcap"], "mode": "hard"}
    yield Arm(f"{FIXED}@{budget:g}", FIXED, "ours", scale.pairs, scale.pairs, fixed)
    for method in methods:
        named = {**ours, "methods": [method]}
        if method == "static" or _plan(scale, entry, named) != _plan(scale, entry, ours):
            yield Arm(f"{method}@{budget:g}", method, "rival", *scale.pairs_of(method), named)


def _plan(scale: Scale, entry: CatalogEntry, budget: Mapping[str, Any]) -> Any:
    given = {"prompt": "a", "seed": 0, "num_inference_steps": scale.steps}
    request = GenerationRequest.model_validate(
        {"model": entry.name, "input": given, "compute_budget": dict(budget)}
    )
    return make_plan(resolve(request, entry), entry)


def peer_arms(scale: Scale, rows: Sequence[Row], per_peer: int = 6) -> list[Arm]:
    """The tuned settings worth a held-out run.

    Args:
        rows: candidates as `tune` measured them on calibration captions.
        per_peer: at most so many settings of a peer; those on the joint front of all peers stay anyway.
    """
    low, high = _PEER_SHARES
    near = [row for row in rows if low <= row["share"] <= high]
    joint = front(near)
    arms = []
    for family, names in FAMILIES.items():
        for name in names:
            own = front([row for row in near if row["peer"] == name])
            chosen = _spread([row for row in own if row not in joint], joint, own, per_peer, scale.budgets)
            arms += [_peer_arm(scale, row, family) for row in chosen]
    return arms


def _spread(
    others: Sequence[Row], joint: Sequence[Row], own: Sequence[Row], count: int, budgets: Sequence[float]
) -> list[Row]:
    """The rows on the joint front, then those nearest to each budget in turn; by rising share."""
    chosen, left = [row for row in own if row in joint], list(others)
    while left and len(chosen) < count:
        for budget in budgets:
            if left and len(chosen) < count:
                nearest = min(left, key=lambda row: abs(row["share"] - budget))
                left.remove(nearest)
                chosen.append(nearest)
    return sorted(chosen, key=lambda row: float(row["share"]))


def _peer_arm(scale: Scale, row: Row, family: str) -> Arm:
    setting = json.dumps(row["setting"], sort_keys=True)
    name = f"{row['peer']}-{hashlib.sha256(setting.encode()).hexdigest()[:8]}"
    group: Group = "diffusers" if family == "diffusers" else "cache-dit"
    line = peer_line(family, row["peer"])
    return Arm(name, line, group, *scale.pairs_of(line), peer=Peer(row["peer"], row["setting"]))


def peer_line(family: str, name: str) -> str:
    """A peer's line; some of our own methods have the same name as a peer."""
    return f"{family} {name}"
