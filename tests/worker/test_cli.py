"""What the workers' own program hands on; nothing heavy is imported or run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workers.cli import main

MODULE = "workers.training.calibration.calibrate"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The calls that reached the calibration. That of "slow" runs out of time."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def calibrate(model: str, **given: Any) -> Path | None:
        calls.append((model, given))
        return None if model == "slow" else Path("calibration.json")

    module = ModuleType(MODULE)
    module.calibrate = calibrate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    return calls


def test_calibrate_hands_on_what_was_given(asked: list[tuple[str, dict[str, Any]]]) -> None:
    words = ["--prompts", "p.txt", "--num-prompts", "12", "--dtype", "bfloat16", "--work", "w"]
    assert (
        main(["calibrate", "a", *words, "--methods", "pare,static", "--reference", "t", "--max-minutes", "3"])
        == 0
    )
    given = {
        "prompts_file": Path("p.txt"),
        "num_prompts": 12,
        "dtype": "bfloat16",
        "work": Path("w"),
        "methods": ("pare", "static"),
        "reference": "t",
        "max_minutes": 3.0,
    }
    assert asked == [("a", given)]


def test_calibrate_leaves_out_what_was_not(asked: list[tuple[str, dict[str, Any]]]) -> None:
    assert main(["calibrate", "flux-tiny"]) == 0
    silent = dict.fromkeys(("prompts_file", "work", "methods", "reference", "max_minutes"))
    assert asked == [("flux-tiny", {**silent, "dtype": "float32", "num_prompts": 256})]


def test_a_calibration_out_of_time_says_so(
    asked: list[tuple[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "slow", "--max-minutes", "1"]) == 3
    assert "goes on" in capsys.readouterr().err
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("words", "named"), [([], "model"), (["a", "--methods", "static,softcup"], "softcup not among steps")]
)
def test_calibrate_refuses_what_is_wrong(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["calibrate", *words])
    assert caught.value.code == 2
    assert named in capsys.readouterr().err
