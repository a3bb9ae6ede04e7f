"""`calibration.json`: read back as it was, refused beside other weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.calibration import CALIBRATION_FILE, Calibration, CalibrationPoint

DIGEST = "a" * 64
MADE = Calibration(
    digest=DIGEST,
    created=2,
    model_created=1,
    num_inference_steps=28,
    settings={"prompts": 8},
    points=(CalibrationPoint(method="fora", steps=28, budget=0.5, spent=0.5, distance=0.1, tail=0.2),),
    tables={"magcache": {"ratios": [1.0, 0.5]}},
)


def test_read_back_as_it_was(tmp_path: Path) -> None:
    assert Calibration.read(tmp_path, DIGEST) is None
    (tmp_path / CALIBRATION_FILE).write_text(MADE.model_dump_json(indent=1))
    found = Calibration.read(tmp_path, DIGEST)
    assert found == MADE
    assert found.id == MADE.id


def test_of_other_weights_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(MADE.model_dump_json())
    with pytest.raises(ValueError, match=r"made for other weights .*rheostat calibrate"):
        Calibration.read(tmp_path, "b" * 64)


@pytest.mark.parametrize("text", ["", "{}", '{"digest": 1}', MADE.model_dump_json().replace("0.1", "NaN")])
def test_what_cannot_be_read_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(text)
    with pytest.raises(ValueError, match=CALIBRATION_FILE):
        Calibration.read(tmp_path, DIGEST)


def test_another_calibration_has_another_name() -> None:
    assert MADE.model_copy(update={"created": 3}).id != MADE.id
