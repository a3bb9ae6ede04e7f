"""A student of few steps for a random tiny Wan."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from workers.models.folder import digest_of
from workers.models.pare import KeptBlock, Pare, narrow

STEPS = 2
PRUNED = Pare(
    teacher="",
    blocks=(KeptBlock(self_heads=(0, 1, 3), cross_heads=(0, 2), neurons=tuple(range(64))),) * 3,
    least_blocks=2.0,
    most_blocks=2.5,
)
"""Three and two of four heads, 64 of 96 neurons, in each of three blocks."""


def write_few(folder: Path, pare: Pare | None = None) -> Path:
    """Lay a student of other random weights into a Wan folder of three blocks, pruned if `pare` is given."""
    from diffusers import WanTransformer3DModel

    few, teacher = folder / "transformer_few", digest_of(folder)
    transformer = WanTransformer3DModel.from_pretrained(folder / "transformer")
    if pare is not None:
        narrow(transformer, pare)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    transformer.save_pretrained(few)
    if pare is not None:
        (few / "pare.json").write_text(pare.model_dump_json())
    told = {"num_inference_steps": STEPS, "solver": "euler", "teacher": teacher}
    (few / "few_steps.json").write_text(json.dumps(told))
    return folder
