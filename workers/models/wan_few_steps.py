"""The student of few steps of a Wan checkpoint, pruned or not."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from protocol.catalog import FewSteps
from protocol.shapes import WanShapes, WanTransformerShape
from workers.models.declaration import declared
from workers.models.few_steps import FewStepsSettings
from workers.models.folder import FEW_STEPS_FOLDER
from workers.models.model import Variant
from workers.models.options import LoadOptions
from workers.models.pare import Pare, load_router, load_transformer
from workers.models.placing import place_denoiser, prepare
from workers.models.wan_network import WanNetwork


def read_few_steps(folder: Path, shapes: WanShapes) -> FewSteps | None:
    """What a catalog says of the pipeline folder's student; None where there is none.

    Raises:
        ValueError: its transformer was another one than that of `shapes` before anything was pruned.
    """
    told = FewStepsSettings.read(folder)
    if told is None:
        return None
    place = folder / FEW_STEPS_FOLDER
    config = json.loads((place / "config.json").read_text("utf-8"))
    if WanTransformerShape.from_config(config) != shapes.transformer:
        raise ValueError(f"{place} is not shaped as the transformer beside it")
    pare = Pare.read(folder, FEW_STEPS_FOLDER)
    left, routed = (None, False) if pare is None else (pare.shape, pare.router is not None)
    return told.described(shapes.model_copy(update={"pare": left}), routed=routed)


def load_few_steps(
    folder: Path, few: FewSteps, device: torch.device, dtype: torch.dtype, options: LoadOptions
) -> Variant:
    """The student's network, and its router where it has one. It predicts what its teacher does."""
    assert isinstance(few.shapes, WanShapes)
    transformer = place_denoiser(load_transformer(folder, dtype, FEW_STEPS_FOLDER), device, options)
    network = WanNetwork(transformer, few.shapes, options.mesh, declared(folder))
    prepare(transformer, device, options)
    pare = Pare.read(folder, FEW_STEPS_FOLDER)
    router = None if pare is None else load_router(folder, pare, FEW_STEPS_FOLDER)
    return Variant(network, None if router is None else router.to(device))
