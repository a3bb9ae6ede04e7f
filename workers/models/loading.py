"""From a name, a folder or a hub id to a model that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from workers.models.folder import INDEX_FILE
from workers.models.model import LoadedModel
from workers.models.options import PLAIN, LoadOptions
from workers.models.registry import make_model

ROOT_VARIABLE = "RHEOSTAT_CHECKPOINTS"
_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}


def load(
    model: str | Path, device: str = "cpu", dtype: str = "bfloat16", options: LoadOptions = PLAIN
) -> LoadedModel:
    """Load a diffusers checkpoint.

    Args:
        model: a reference model's name ("flux-tiny"), a checkpoint folder, or a hub id ("owner/name"). Names
            are looked for in the folder RHEOSTAT_CHECKPOINTS names, else in `checkpoints` beside this package
            and in `checkpoints` of the working directory.
        device: as torch names it.
        dtype: bfloat16, float32 or float16.
        options: what is done to its denoiser besides.

    Raises:
        LookupError: no such model, dtype or family; the message lists what is known.
        ValueError: a checkpoint this engine would not run faithfully.
    """
    if dtype not in _DTYPES:
        raise LookupError(f"unknown dtype {dtype!r}; known: {', '.join(_DTYPES)}")
    name, folder = locate(model)
    index = json.loads((folder / INDEX_FILE).read_text("utf-8"))
    return make_model(
        index["_class_name"], name, folder, torch.device(device), _DTYPES[dtype], options=options
    )


def locate(model: str | Path) -> tuple[str, Path]:
    """Catalog name and folder. A folder wins over a name, a name over a hub id."""
    given = Path(model)
    if (given / INDEX_FILE).is_file():
        return given.resolve().name, given
    roots = list(_roots())
    for root in roots:
        if (root / given / INDEX_FILE).is_file():
            return str(model), root / given
    if isinstance(model, str) and model.count("/") == 1:
        return model, Path(DiffusionPipeline.download(model))
    known = sorted({path.parent.name for root in roots for path in root.glob(f"*/{INDEX_FILE}")})
    raise LookupError(
        f"no model {str(model)!r}: no folder with a {INDEX_FILE}, no hub id, and not among those in "
        f"{' or '.join(map(str, roots))}: {', '.join(known) or 'none'}"
    )


def _roots() -> Iterator[Path]:
    if root := os.environ.get(ROOT_VARIABLE):
        yield Path(root)
        return
    yield Path(__file__).resolve().parents[2] / "checkpoints"
    yield Path.cwd() / "checkpoints"
