"""Families by the pipeline class a checkpoint names. A family is imported when it is chosen, not before."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from workers.models.model import LoadedModel
from workers.models.options import PLAIN, LoadOptions

_FAMILIES = {
    "FluxPipeline": ("workers.models.flux", "Flux"),
    "SeddPipeline": ("workers.models.sedd", "Sedd"),
    "WanImageToVideoPipeline": ("workers.models.wan_image", "WanImage"),
    "WanPipeline": ("workers.models.wan", "Wan"),
}


def make_model(
    pipeline_class: str,
    name: str,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    options: LoadOptions = PLAIN,
) -> LoadedModel:
    """Load the folder with its family.

    Raises:
        LookupError: no family runs this pipeline; the message lists those that are known.
    """
    if pipeline_class not in _FAMILIES:
        raise LookupError(f"{name} is a {pipeline_class}; known families run {', '.join(sorted(_FAMILIES))}")
    module, family = _FAMILIES[pipeline_class]
    model: LoadedModel = getattr(import_module(module), family)(name, folder, device, dtype, options)
    return model
