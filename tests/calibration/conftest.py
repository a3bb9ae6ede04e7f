"""Probes of the tiny random FLUX and the tiny random Wan, six steps each, and prompts in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workers.training.calibration.probe import Probe, make_probe

PROMPTS = (
    "a red apple",
    "two blue dogs",
    "one small tree",
    "the sun",
    "a car",
    "two red apples",
    "a tree",
    "dogs",
)


def with_defaults(model: Any, **defaults: Any) -> Any:
    """The model with other defaults; everything else is the loaded one's."""
    changed = model.catalog.defaults.model_copy(update=defaults)

    class Changed:
        catalog = model.catalog.model_copy(update={"defaults": changed})

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

    return Changed()


@pytest.fixture(scope="session")
def small_model(load_flux: Callable[..., Any]) -> Any:
    """The plain tiny FLUX with a default of six steps."""
    return with_defaults(load_flux("plain"), num_inference_steps=6)


@pytest.fixture(scope="session")
def probe(small_model: Any) -> Probe:
    return make_probe(small_model, PROMPTS, first_seed=5)


@pytest.fixture(scope="session")
def guided_clips(load_wan: Callable[..., Any]) -> Any:
    """The tiny Wan under UniPC, two lanes, with a default of six steps."""
    return with_defaults(load_wan(), num_inference_steps=6, guidance_scale=2.0)


@pytest.fixture(scope="session")
def clip_probe(guided_clips: Any) -> Probe:
    return make_probe(guided_clips, PROMPTS[:4], first_seed=5)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 48 prompts, as few as a calibration takes."""
    file = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    words = ("red", "blue", "small", "white"), ("apple", "dogs", "tree", "car", "sun", "background")
    lines = [f"a {colour} {thing} {number}" for colour in words[0] for thing in words[1] for number in (1, 2)]
    file.write_text("\n".join(lines) + "\n\n")
    return file
