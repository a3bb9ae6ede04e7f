"""What a folder says its network predicts; what says nothing, or two things, is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from workers.core import Prediction
from workers.models.declaration import declared, require_flow

EULER = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
UNIPC = {"_class_name": "UniPCMultistepScheduler"}


def folder_of(tmp_path: Path, scheduler: dict[str, Any], prediction: Any = None) -> Path:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    if prediction is not None:
        (tmp_path / "rheostat.json").write_text(json.dumps({"prediction": prediction}))
    return tmp_path


@pytest.mark.parametrize(
    ("scheduler", "prediction", "expected"),
    [
        (EULER, None, (Prediction.FLOW, 0.0)),
        (EULER, {"target": "flow"}, (Prediction.FLOW, 0.0)),
        (EULER, {"target": "x0"}, (Prediction.X0, 0.0)),
        (EULER, {"target": "x0", "clamp": 0.05}, (Prediction.X0, 0.05)),
        (EULER, {"target": "eps"}, (Prediction.EPS, 0.05)),
        ({**UNIPC, "prediction_type": "flow_prediction"}, None, (Prediction.FLOW, 0.0)),
        ({**UNIPC, "prediction_type": "sample"}, None, (Prediction.X0, 0.0)),
        ({**UNIPC, "prediction_type": "sample"}, {"target": "x0", "clamp": 0.1}, (Prediction.X0, 0.1)),
        ({**UNIPC, "prediction_type": "epsilon"}, {"target": "eps"}, (Prediction.EPS, 0.05)),
        ({"_class_name": "DDIMScheduler"}, {"target": "flow"}, (Prediction.FLOW, 0.0)),
    ],
)
def test_declared(
    tmp_path: Path, scheduler: dict[str, Any], prediction: Any, expected: tuple[Prediction, float]
) -> None:
    assert declared(folder_of(tmp_path, scheduler, prediction)) == expected


@pytest.mark.parametrize(
    ("scheduler", "prediction", "message"),
    [
        ({"_class_name": "DDIMScheduler"}, None, r"does not say .*rheostat\.json"),
        (UNIPC, None, "prediction_type .* missing"),
        (UNIPC, {"target": "flow"}, "prediction_type .* missing"),
        ({**UNIPC, "prediction_type": "epsilon"}, None, "no declaration by itself"),
        ({**UNIPC, "prediction_type": "v_prediction"}, None, "v_prediction is not supported"),
        ({**UNIPC, "prediction_type": "flow_prediction"}, {"target": "x0"}, "declares prediction x0"),
        (EULER, {"target": "eps", "clamp": 0.0}, "clamp above 0"),
        (EULER, {"target": "flow", "clamp": 0.05}, "takes no clamp"),
    ],
)
def test_refused(tmp_path: Path, scheduler: dict[str, Any], prediction: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declared(folder_of(tmp_path, scheduler, prediction))


@pytest.mark.parametrize("prediction", ["x0", {}, {"target": "x1"}, {"target": "x0", "clamp": 1.0}])
def test_what_is_no_declaration_names_the_key(tmp_path: Path, prediction: Any) -> None:
    with pytest.raises(ValidationError, match="prediction"):
        declared(folder_of(tmp_path, EULER, prediction))


def test_teachers_predict_flows(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, EULER, {"target": "x0"})
    with pytest.raises(ValueError, match="predicts x0"):
        require_flow(folder)
