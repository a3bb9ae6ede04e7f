"""A probe of the tiny random FLUX: eight prompts, six steps."""

from __future__ import annotations

from collections.abc import Callable
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


@pytest.fixture(scope="session")
def small_model(load_flux: Callable[..., Any]) -> Any:
    """The plain tiny FLUX with a default of six steps, a model of its own."""
    model = load_flux("plain")
    defaults = model.catalog.defaults.model_copy(update={"num_inference_steps": 6})

    class Shorter:
        """Everything is the loaded model's but the catalog."""

        catalog = model.catalog.model_copy(update={"defaults": defaults})

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

    return Shorter()


@pytest.fixture(scope="session")
def probe(small_model: Any) -> Probe:
    return make_probe(small_model, PROMPTS, first_seed=5)
