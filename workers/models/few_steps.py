"""A checkpoint's student of few steps: a second denoiser beside the first, weights and all.

`transformer_few` stands beside `transformer` and is laid out alike; `few_steps.json` in it says what the
weights were distilled for:

    {"num_inference_steps": 4, "solver": "euler", "teacher": "<digest>"}

The steps are those of the checkpoint's own grid of so many, taken by `solver`; `teacher` is the digest of the
checkpoint it learned from, without students.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, PositiveInt

from protocol.catalog import FewSteps
from protocol.cost import evaluations
from protocol.shapes import ModelShapes
from workers.models.folder import FEW_STEPS_FOLDER

FEW_STEPS_FILE = "few_steps.json"


class FewStepsSettings(BaseModel):
    """The content of `few_steps.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_inference_steps: PositiveInt
    solver: str
    teacher: str

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What a checkpoint says of its student, None if it has none.

        Raises:
            ValueError: the file is missing beside a student's weights, or holds something else.
        """
        if not (folder / FEW_STEPS_FOLDER).is_dir():
            return None
        path = folder / FEW_STEPS_FOLDER / FEW_STEPS_FILE
        if not path.is_file():
            raise ValueError(f"{path.parent} has no {FEW_STEPS_FILE}: nobody knows how to run it")
        found = cls.model_validate_json(path.read_bytes())
        evaluations(found.solver, found.num_inference_steps)  # raises where the solver is not known
        return found

    def described(self, shapes: ModelShapes, *, routed: bool = False) -> FewSteps:
        """As a catalog has it; `shapes` with what is pruned in the student, `routed` if it has a router."""
        return FewSteps(
            num_inference_steps=self.num_inference_steps, solver=self.solver, shapes=shapes, routed=routed
        )
