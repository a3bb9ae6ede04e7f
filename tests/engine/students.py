"""A student of few steps for a random tiny Wan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from workers.models.folder import digest_of
from workers.models.pare import PARE_FILE, ROUTER_FILE, load_transformer

STEPS = 2


def write_few(folder: Path) -> Path:
    """Lay a student of other random weights into a Wan folder, pruned and routed as that is."""
    few, teacher = folder / "transformer_few", digest_of(folder)
    transformer = load_transformer(folder, torch.float32)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    transformer.save_pretrained(few)
    for name in (PARE_FILE, ROUTER_FILE):
        if (folder / name).exists():
            shutil.copy(folder / name, few)
    told = {"num_inference_steps": STEPS, "solver": "euler", "teacher": teacher}
    (few / "few_steps.json").write_text(json.dumps(told))
    return folder
