"""A PARE student of random weights, built offline: a tiny Wan folder and a router that looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.once import models_in
from tests.plugins.wan import WanRecipe, build_wan

_SEED = 20_261_125


@dataclass(frozen=True)
class StudentRecipe:
    """Of so many heads and neurons the first are kept; the line is from .4 to .85 of the blocks."""

    num_layers: int = 6
    heads: int = 4
    kept_heads: int = 3
    ffn_dim: int = 96
    kept_neurons: int = 64


def build_student(folder: Path, recipe: StudentRecipe = StudentRecipe()) -> Path:
    """Save the student's folder; same weights every time."""
    import torch
    from diffusers import WanTransformer3DModel
    from safetensors.torch import save_file

    from workers.models.pare import PARE_FILE, ROUTER_FILE, KeptBlock, Pare, RouterShape, build_router, narrow

    stock = WanRecipe(num_layers=recipe.num_layers)
    build_wan(folder, stock)
    heads = tuple(range(recipe.kept_heads))
    shape = RouterShape(channels=stock.latent_channels, text_channels=32)
    kept = KeptBlock(self_heads=heads, cross_heads=heads, neurons=tuple(range(recipe.kept_neurons)))
    pare = Pare(
        teacher="0" * 64,
        blocks=(kept,) * recipe.num_layers,
        least_blocks=0.4 * recipe.num_layers,
        most_blocks=0.85 * recipe.num_layers,
        router=shape,
    )
    config = WanTransformer3DModel.load_config(folder / "transformer")
    config |= {"num_attention_heads": recipe.heads, "ffn_dim": recipe.ffn_dim}
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        narrow(WanTransformer3DModel.from_config(config), pare).eval().save_pretrained(folder / "transformer")
        router = build_router(shape, recipe.num_layers)
        torch.nn.init.normal_(router.layers[-1].weight)
    (folder / PARE_FILE).write_text(pare.model_dump_json())
    save_file(router.state_dict(), folder / ROUTER_FILE)
    return folder


@pytest.fixture(scope="session")
def load_student(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Factory: `load_student("float32")`; each dtype is loaded once a session."""
    root = tmp_path_factory.mktemp("students")
    build_student(root / "student")
    student = models_in(root, "student")
    return lambda dtype="float32": student(dtype=dtype)
