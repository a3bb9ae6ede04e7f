"""Write a student as its teacher's folder with another transformer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from workers.core.pare_router import DepthRouter
from workers.models.folder import INDEX_FILE, SETTINGS_FILE
from workers.models.pare import PARE_FILE, ROUTER_FILE, Pare
from workers.training.pare.slicing import build_student
from workers.training.pipeline_folder import place_folder


def write_student(
    teacher: Path,
    folder: Path,
    pare: Pare,
    *,
    weights: dict[str, Tensor],
    router: DepthRouter | None,
    record: dict[str, Any],
) -> None:
    """Put the student's folder in its place: weights in bf16, the router in float32, the rest the teacher's.

    Args:
        teacher: the pipeline folder it was made from.
        folder: where it goes.
        weights: of the transformer.
        record: goes into `training.json`.
    """
    config = json.loads((teacher / "transformer" / "config.json").read_text("utf-8"))
    student = build_student(config, pare)
    student.load_state_dict(weights)

    def fill(fresh: Path) -> None:
        _copy_around(teacher, fresh)
        student.bfloat16().save_pretrained(fresh / "transformer")
        (fresh / PARE_FILE).write_text(pare.model_dump_json(exclude_none=True) + "\n")
        if router is not None:
            save_file(router.state_dict(), fresh / ROUTER_FILE)

    place_folder(fill, folder, {"training.json": record})


def _copy_around(teacher: Path, fresh: Path) -> None:
    """All the pipeline is made of but its transformer; what was measured on the teacher stays there."""
    index = json.loads((teacher / INDEX_FILE).read_text("utf-8"))
    fresh.mkdir(parents=True)
    for name in (INDEX_FILE, SETTINGS_FILE):
        if (teacher / name).exists():
            shutil.copyfile(teacher / name, fresh / name)
    for component in index:
        if component != "transformer" and (teacher / component).is_dir():
            shutil.copytree(teacher / component, fresh / component)
