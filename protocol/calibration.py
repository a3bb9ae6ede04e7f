"""What `rheostat calibrate` found out about one checkpoint: `calibration.json` beside the weights.

The points say what each method costs and how far it strays at each budget; the planner reads them. The tables
are a method's own (a polynomial, a reference curve, forecast weights); the method that wrote them reads them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

CALIBRATION_FILE = "calibration.json"
_ID_DIGITS = 16


def _empty(value: tuple[int, ...]) -> bool:
    """Left out where there is nothing to say, so that older files keep their ids."""
    return not value


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CalibrationPoint(_Frozen):
    """One method at one budget, as measured on the calibration prompts.

    Args:
        method: its name; of a stack measured as one the names of its parts, `pare+softcap`.
        steps: of the unabridged run it was calibrated for; it is of no use to runs of other lengths.
        budget: share of full compute it is for; what a plan made of it is granted.
        spent: mean share of full compute it took.
        distance: relative L2 of the final latents to the unabridged run, mean over prompts.
        tail: the same, mean of the worst 5 %.
        parameters: what the method runs under at this budget.
        nodes: likewise, see `protocol.plan.Plan`.
        mode: the budget mode it is for; None: both.
        depths: likewise; of a router alone they may be left out: the line is then fitted to the budget.
        dial: the parameter that moves with the budget: between two points it is set between theirs. None: the
            point is taken as it is.
    """

    method: str
    steps: int = Field(ge=1)
    budget: float = Field(gt=0.0, le=1.0)
    spent: float = Field(gt=0.0, le=1.0)
    distance: float = Field(ge=0.0)
    tail: float = Field(ge=0.0)
    parameters: dict[str, float] = Field(default_factory=dict)
    nodes: tuple[int, ...] = ()
    depths: tuple[int, ...] = Field(default=(), exclude_if=_empty)
    mode: Literal["soft", "hard"] | None = None
    dial: str | None = None


class Calibration(_Frozen):
    """A checkpoint's calibration.

    Args:
        digest: of the weights it was made with; it is of no use to others.
        created: unix seconds.
        model_created: unix seconds of those weights.
        num_inference_steps: of the runs it was made from.
        settings: what the calibration was made with: prompts, seeds, sizes.
        points: sorted by method, then by budget.
        tables: by method.
    """

    digest: str
    created: int
    model_created: int
    num_inference_steps: int
    settings: dict[str, JsonValue]
    points: tuple[CalibrationPoint, ...]
    tables: dict[str, dict[str, JsonValue]]

    @property
    def id(self) -> str:
        """Names this very calibration; plans and receipts carry it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:_ID_DIGITS]

    @classmethod
    def read(cls, folder: Path, digest: str) -> Self | None:
        """The folder's calibration, or None if it has none.

        Raises:
            ValueError: the file is unreadable, or belongs to other weights.
        """
        path = folder / CALIBRATION_FILE
        if not path.exists():
            return None
        try:
            found = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{path}: {error}") from error
        if found.digest != digest:
            raise ValueError(
                f"{path} was made for other weights ({found.digest[:12]}, these are {digest[:12]}): "
                "make it anew with `rheostat calibrate`, or remove it"
            )
        return found
