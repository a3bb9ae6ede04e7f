"""What tests of methods share: a tiny real FLUX of three blocks, and a row of numbers for thresholds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def flux(load_flux: Callable[..., Any]) -> Any:
    """The guided FLUX folder (one double and two single blocks, random weights) in float32."""
    return load_flux("plain", "float32")
