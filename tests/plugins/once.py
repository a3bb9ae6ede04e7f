"""Checkpoints of a folder, each loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any


def models_in(root: Path, default: str) -> Callable[..., Any]:
    """Factory of our models: a folder's name and a dtype, `default` in float32 if not said."""
    import torch

    from workers.models import load

    @cache
    def loaded(name: str, dtype: str) -> Any:
        with torch.inference_mode(False):  # a test may ask from inside; the weights outlive it
            return load(root / name, dtype=dtype)

    return lambda name=default, dtype="float32": loaded(name, dtype)


def pipelines_in(root: Path, default: str) -> Callable[..., Any]:
    """Factory of diffusers' own pipelines from the same folders, none of our modules in them."""
    import torch
    from diffusers import DiffusionPipeline

    @cache
    def loaded(name: str, dtype: str) -> Any:
        pipeline = DiffusionPipeline.from_pretrained(root / name, dtype=getattr(torch, dtype))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return lambda name=default, dtype="float32": loaded(name, dtype)
