"""What is compared: a teacher, its students by folder, our caches, released pruning, at budgets.

An arm is a folder's model under one compute budget. Methods are named as a request names them, so an arm
that this build or this checkpoint cannot plan is left out (`plannable`), and one whose plan is another arm's
as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.quality_vs_compute.peers import Peer
from benchmarks.quality_vs_compute.tune import Row, front
from benchmarks.video_quality.pairs import Captions
from protocol.catalog import CatalogEntry
from protocol.errors import RheostatError
from protocol.jobs import GenerationRequest
from protocol.plan import Plan, make_plan
from protocol.resolve import resolve

BUDGETS = (0.75, 0.5, 0.35, 0.25, 0.2, 0.15, 0.1)
MATCHED = 0.53
"""The share must-show 4 is about: PARE's cut of 47 %."""
FULL, REAL, DBPRUNE = "full", "real", "dbprune"
PARE, ADAPTIVE, FIXED, TOGETHER = "pare", "pare adaptive", "pare fixed", "pare+softcap+few-step"
ON_TEACHER = ("softcap", "static", "taylorseer", "steps", "static-drop", "random-drop", "few-step")
ON_STUDENT: tuple[tuple[str, ...], ...] = (
    ("pare",),
    ("pare", "softcap"),
    ("pare", "few-step"),
    ("pare", "softcap", "few-step"),
)
STRATA: tuple[Captions, ...] = ("easy", "hard")
_RANKS = {FULL: 0, REAL: 1, PARE: 2, ADAPTIVE: 3, FIXED: 3, TOGETHER: 4, "pare+softcap": 5, "softcap": 6}
_LAST = 7

Group = Literal["reference", "ours", "rival", "cache-dit"]


@dataclass(frozen=True)
class Scale:
    """How much is run. All counts of pairs are multiples of `chunk`.

    Args:
        pairs: of references, PARE, its controls and DBPrune at the matched share: what verdicts rest on.
        rest_pairs: of all others.
        strata_pairs: of easy and of hard captions each.
        chunk: pairs that are run and stored together.
        steps: of a run; None: the teacher's own.
    """

    pairs: int = 1000
    rest_pairs: int = 200
    strata_pairs: int = 200
    chunk: int = 50
    steps: int | None = None
    budgets: tuple[float, ...] = BUDGETS
    matched: float = MATCHED

    def of(self, captions: Captions, *, decides: bool) -> int:
        """Pairs of an arm on these captions."""
        if captions != "all":
            return self.strata_pairs
        return self.pairs if decides else min(self.rest_pairs, self.pairs)


class Student(NamedTuple):
    """A checkpoint beside the teacher, and the methods it is run under, as a budget names them."""

    name: str
    folder: Path
    methods: tuple[str, ...] = ("pare",)

    @classmethod
    def parse(cls, text: str) -> Student:
        """`name=folder` or `name=folder:method+method`.

        Raises:
            ValueError: it is neither.
        """
        name, equals, rest = text.partition("=")
        folder, colon, methods = rest.partition(":")
        if not (name and equals and folder and (methods or not colon)):
            raise ValueError(f"{text!r} is not name=folder or name=folder:method+method")
        return cls(name, Path(folder), tuple(methods.split("+")) if methods else ("pare",))


@dataclass(frozen=True)
class Arm:
    """One model under one budget.

    Args:
        name: unique; names its files.
        line: what it is a point of in the plot and a row of in the tables.
        group: whose it is.
        pairs: how many it is run on.
        captions: of which kind.
        folder: its model; None: the teacher.
        budget: as a request writes it.
        parameters: put over those of the plan.
        peer: a released method, run through diffusers' own pipeline of the teacher.
    """

    name: str
    line: str
    group: Group
    pairs: int
    captions: Captions = "all"
    folder: Path | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)
    peer: Peer | None = None

    @property
    def rank(self) -> int:
        return _RANKS.get(self.line, _LAST)

    @property
    def fraction(self) -> float:
        """The share of compute asked for; 1 where none was."""
        return float(self.budget.get("fraction", 1.0))


def full_name(captions: Captions) -> str:
    """The unabridged run's arm on these captions."""
    return FULL if captions == "all" else f"{FULL}-{captions}"


def needed(arm: Arm) -> tuple[str, ...]:
    """The references an arm is held against."""
    return () if arm.line in (FULL, REAL) else (full_name(arm.captions),)


def references(scale: Scale) -> list[Arm]:
    """The teacher unabridged on all kinds of captions, and real clips, which are the judge's ceiling."""
    kinds: tuple[Captions, ...] = ("all", *STRATA)
    full = [
        Arm(full_name(kind), FULL, "reference", scale.of(kind, decides=True), kind)
        for kind in kinds
        if scale.of(kind, decides=True)
    ]
    return [*full, Arm(REAL, REAL, "reference", scale.pairs)]


def teacher_arms(scale: Scale) -> list[Arm]:
    """Our caches, dropping of blocks and fewer steps on the teacher."""
    return [
        Arm(
            f"{method}@{budget:g}",
            method,
            "rival",
            scale.of("all", decides=budget == scale.matched),
            budget={"fraction": budget, "methods": [method]},
        )
        for method in ON_TEACHER
        for budget in _budgets(scale)
    ]


def student_arms(scale: Scale, students: Sequence[Student]) -> list[Arm]:
    """The student named `pare` under every stack and budget, adaptive against fixed; others matched."""
    arms = [_student_arm(scale, each, each.methods, scale.matched) for each in students]
    for each in students:
        if each.name == PARE:
            stacks = [methods for methods in ON_STUDENT if set(methods) >= set(each.methods)] or [
                each.methods
            ]
            arms += [
                _student_arm(scale, each, stack, budget) for stack in stacks for budget in _budgets(scale)
            ]
            arms += _adaptivity_arms(scale, each)
    return list({arm.name: arm for arm in arms}.values())


def _student_arm(scale: Scale, student: Student, methods: Sequence[str], budget: float) -> Arm:
    own = tuple(methods) == student.methods
    line = student.name if own else "+".join(methods)
    decides = (own and budget == scale.matched) or line == TOGETHER
    return Arm(
        f"{line}@{budget:g}",
        line,
        "ours" if student.name == PARE else "rival",
        scale.of("all", decides=decides),
        folder=student.folder,
        budget={"fraction": budget, "methods": list(methods)},
    )


def _adaptivity_arms(scale: Scale, student: Student) -> list[Arm]:
    """The number of blocks following the input, and not, at the same budget."""
    kinds: tuple[Captions, ...] = ("all", *STRATA)
    return [
        Arm(
            f"{line.replace(' ', '-')}-{kind}",
            line,
            "ours",
            scale.of(kind, decides=False),
            kind,
            folder=student.folder,
            budget={"fraction": scale.matched, "methods": list(student.methods)},
            parameters={"adaptivity": adaptivity},
        )
        for line, adaptivity in ((ADAPTIVE, 1.0), (FIXED, 0.0))
        for kind in kinds
        if scale.of(kind, decides=False)
    ]


def peer_arms(scale: Scale, rows: Sequence[Row], share: float | None = None) -> list[Arm]:
    """DBPrune's tuned settings: the front, and all pairs for the one nearest to the share to be matched.

    Args:
        rows: candidates as `tune` measured them on calibration captions.
        share: measured of PARE; None: the matched budget.
    """
    best = front([row for row in rows if row["peer"] == DBPRUNE])
    wanted = scale.matched if share is None else share
    nearest = min(best, key=lambda row: abs(row["share"] - wanted), default=None)
    return [
        Arm(
            f"{DBPRUNE}-{_digest(row['setting'])}",
            DBPRUNE,
            "cache-dit",
            scale.of("all", decides=row is nearest),
            peer=Peer(DBPRUNE, row["setting"]),
        )
        for row in best
    ]


def _digest(setting: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:8]


def _budgets(scale: Scale) -> list[float]:
    return sorted({*scale.budgets, scale.matched}, reverse=True)


def plannable(
    arms: Iterable[Arm], entry_of: Callable[[Path | None], CatalogEntry], steps: int
) -> tuple[list[Arm], dict[str, str]]:
    """The arms that can be run, each plan once a kind of captions; and why the others cannot."""
    kept: list[Arm] = []
    refused: dict[str, str] = {}
    seen: dict[str, str] = {}
    for arm in arms:
        if arm.peer is not None or arm.line == REAL:
            kept.append(arm)
            continue
        try:
            plan = plan_of(arm, entry_of(arm.folder), steps)
        except RheostatError as error:
            refused[arm.name] = error.info.message
            continue
        key = f"{arm.folder} {arm.captions} {plan.model_dump_json()}"
        twin = seen.setdefault(key, arm.name)
        if twin == arm.name or arm.parameters:
            kept.append(arm)
        else:
            refused[arm.name] = f"its plan is that of {twin}"
    return kept, refused


def request_of(arm: Arm, model: str, steps: int, prompt: str = "a", seed: int = 0) -> GenerationRequest:
    """The request that runs the arm."""
    given = {"prompt": prompt, "seed": seed, "num_inference_steps": steps}
    body = {"model": model, "input": given, "compute_budget": dict(arm.budget) or 1.0}
    return GenerationRequest.model_validate(body)


def plan_of(arm: Arm, entry: CatalogEntry, steps: int) -> Plan:
    """What the budget becomes, with the arm's own parameters put over.

    Raises:
        RheostatError: the model cannot do what the arm asks.
    """
    plan = make_plan(resolve(request_of(arm, entry.name, steps), entry), entry)
    return plan.model_copy(update={"parameters": {**plan.parameters, **arm.parameters}})
