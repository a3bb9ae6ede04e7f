"""What the command line hands to the recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.cli import main
from workers.training import recipes
from workers.training.pare.settings import CONTROLS, PareSettings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The calls that reached `train`."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def train(name: str, **given: Any) -> bool:
        calls.append((name, given))
        return True

    monkeypatch.setattr(recipes, "train", train)
    return calls


def test_pare_is_given_its_teacher_and_settings(asked: list[tuple[str, dict[str, Any]]]) -> None:
    assert main(["train", "pare", "--teacher", "wan-tiny"]) == 0
    ((name, given),) = asked
    assert (name, given["teacher"], given["settings"]) == ("pare", "wan-tiny", PareSettings())
    assert "data" not in given


def test_a_control_may_be_changed_by_a_file(asked: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"route": {"num_steps": 7}, "seed": 5}))
    words = ["--teacher", "t", "--control", "time", "--settings", str(file), "--states", "a.pt", "b.pt"]
    assert main(["train", "pare", *words]) == 0
    settings = asked[0][1]["settings"]
    assert (settings.router, settings.seed, settings.route.num_steps) == ("time", 5, 7)
    assert settings.route.muon_rate == CONTROLS["time"].route.muon_rate
    assert settings.teacher_states == (Path("a.pt"), Path("b.pt"))


def test_other_recipes_are_asked_as_before(asked: list[tuple[str, dict[str, Any]]]) -> None:
    assert main(["train", "flux-tiny"]) == 0
    assert asked == [("flux-tiny", {"max_minutes": None, "until": None, "out": None})]


def test_an_unknown_control_is_named(asked: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(SystemExit, match="there are: short, uniform"):
        main(["train", "pare", "--teacher", "t", "--control", "magic"])
    assert not asked
