"""A small random LoRA for a checkpoint of `tests.plugins.flux` or `.wan`, in diffusers' own layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RANK = 4


def add_lora(folder: Path, transformer: Any, name: str, *, seed: int, scale: float = 1.0) -> Path:
    """Write a LoRA for the attention's queries and the first adaLN projection, and list it; its file."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for path, module in transformer.named_modules():
        if path.endswith(("attn.to_q", "attn1.to_q", "transformer_blocks.0.norm1.linear")):
            wide, narrow = module.in_features, module.out_features
            shapes = {"lora_A": (RANK, wide), "lora_B": (narrow, RANK)}
            for part, shape in shapes.items():
                weights[f"transformer.{path}.{part}.weight"] = torch.randn(shape, generator=generator) * 0.3
    file = folder / "loras" / f"{name}.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(weights, file)
    settings = json.loads((folder / "rheostat.json").read_text())
    settings.setdefault("loras", {})[name] = {"file": f"loras/{name}.safetensors", "scale": scale}
    (folder / "rheostat.json").write_text(json.dumps(settings))
    return file
