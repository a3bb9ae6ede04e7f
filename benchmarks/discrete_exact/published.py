"""The samplers that both exact benchmarks compare ours with, by the options of `sample`."""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, dict[str, Any]] = {
    "Euler": {"corrector": "none", "predictor": "euler"},
    "Tweedie": {"corrector": "none"},
    "tau-leaping": {"corrector": "none", "predictor": "tau-leaping"},
    "theta-trapezoidal": {"corrector": "none", "predictor": "theta-trapezoidal"},
    "CTMC 1.5": {"corrector": "ctmc", "predictor": "euler"},
    "exact L=1": {"corrector": "exact", "predictor": "euler"},
}
