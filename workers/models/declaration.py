"""What a checkpoint's network predicts, as the checkpoint itself says. Nothing is assumed.

A stock folder says it by its scheduler's config: FlowMatchEulerDiscreteScheduler takes flows and nothing
else, UniPCMultistepScheduler has `prediction_type`. Where that cannot say it, `rheostat.json` does:

    "prediction": {"target": "x0", "clamp": 0.05}

`target` is "flow", "x0" or "eps". `clamp` is the least divisor when the output is made a flow, see
`workers.core.Layout.clamp`: 0 for x0 where it is left out, and .05 for eps, which says nothing of the data at
the noise where runs begin.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from workers.core import PREDICTION_TYPES, Prediction
from workers.models.folder import FolderSettings, PredictionSettings

_FLOW_ONLY, _UNIPC = "FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"
_UNIPC_TYPES = {name: prediction for prediction, name in PREDICTION_TYPES.items()}
_EPS_CLAMP = 0.05


class Declared(NamedTuple):
    """A network's prediction and its clamp, see `workers.core.Layout`."""

    prediction: Prediction = Prediction.FLOW
    clamp: float = 0.0


FLOW = Declared()


def declared(folder: Path) -> Declared:
    """What the checkpoint in this folder declares.

    Raises:
        ValueError: it declares nothing, two things, or a clamp that cannot be.
    """
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    told = FolderSettings.read(folder).prediction
    stock = _of_scheduler(config, told)
    return Declared(stock) if told is None else _checked(told)


def require_flow(folder: Path) -> None:
    """Refuse a teacher whose outputs a recipe would take for velocities.

    Raises:
        ValueError: the folder's network predicts something else.
    """
    found = declared(folder).prediction
    if found is not FLOW.prediction:
        raise ValueError(f"{folder} predicts {found}; this recipe learns from predictions of the flow only")


def _of_scheduler(config: dict[str, Any], told: PredictionSettings | None) -> Prediction:
    """The scheduler's word; where it has none of its own, that of `rheostat.json`."""
    name = config.get("_class_name")
    if name == _UNIPC:
        return _of_unipc(config.get("prediction_type"), told)
    if told is not None:
        return told.target
    if name != _FLOW_ONLY:
        raise ValueError(
            f"scheduler {name} does not say what the network predicts; declare it in rheostat.json: "
            f'"prediction": {{"target": {_choices()}}}'
        )
    return Prediction.FLOW


def _of_unipc(stated: str | None, told: PredictionSettings | None) -> Prediction:
    """Its default is epsilon, so that word alone may mean that nobody declared anything."""
    if stated is None or (stated == "epsilon" and told is None):
        raise ValueError(
            f"prediction_type of {_UNIPC} is {stated or 'missing'}, which is no declaration by itself: name "
            f'it, and in rheostat.json as well: "prediction": {{"target": {_choices()}}}'
        )
    if stated not in _UNIPC_TYPES:
        raise ValueError(f"prediction_type {stated} is not supported; known: {', '.join(_UNIPC_TYPES)}")
    if told is not None and told.target is not _UNIPC_TYPES[stated]:
        raise ValueError(f"rheostat.json declares prediction {told.target}, the scheduler {stated}")
    return _UNIPC_TYPES[stated]


def _checked(told: PredictionSettings) -> Declared:
    eps = told.target is Prediction.EPS
    clamp = (_EPS_CLAMP if eps else 0.0) if told.clamp is None else told.clamp
    if eps and not clamp:
        raise ValueError("a prediction of eps needs a clamp above 0: runs begin where its divisor is 0")
    if told.target is Prediction.FLOW and clamp:
        raise ValueError("a prediction of the flow is not divided by anything, so it takes no clamp")
    return Declared(told.target, clamp)


def _choices() -> str:
    return " | ".join(f'"{each}"' for each in PREDICTION_TYPES)
