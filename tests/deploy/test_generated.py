"""What is committed is what the code makes, and says what a reader on call needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.observability.__main__ import BOARDS, files, write
from deploy.observability.objectives import BURN_WINDOWS, DAY, MINUTE, Objectives, duration
from deploy.observability.panels import encode

ROOT = Path(__file__).parents[2]
MADE = files(Objectives())
ENTRY_PARTS = ("**What it means.**", "**How to look.**", "**What to do.**")


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def headings() -> dict[str, str]:
    """Anchor -> the text below, of the runbook's second level."""
    parts = re.split(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), flags=re.M)
    return {
        title.lower().replace(" ", "-"): text for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.mark.parametrize("name", MADE)
def test_committed_as_made(name: str) -> None:
    assert (ROOT / name).read_text() == MADE[name], "run python -m deploy.observability"


def test_nothing_else_is_committed_beside_it() -> None:
    boards = {
        f"deploy/grafana/dashboards/{path.name}" for path in (ROOT / "deploy/grafana/dashboards").iterdir()
    }
    assert boards == {name for name in MADE if name.endswith(".json")}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_dashboards_are_grafanas_own(board: Any) -> None:
    """Grafana's types read the JSON back without loss, no two panels share an id or a place."""
    path = ROOT / f"deploy/grafana/dashboards/{board.uid}.json"
    tree = json.loads(path.read_text())
    assert json.loads(encode(Dashboard.from_json(tree))) == tree
    ids = [panel["id"] for panel in tree["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in tree["panels"]:
        at = {"x": 0, "y": 0} | panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_have_units_descriptions_and_a_way_into_the_runbook(board: Any) -> None:
    known = headings()
    titles = []
    for panel in panels(ROOT / f"deploy/grafana/dashboards/{board.uid}.json"):
        titles.append(panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        [link] = panel["links"]
        assert link["url"].partition("#")[2] in known, panel["title"]
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"]), panel["title"]
    assert len(set(titles)) == len(titles)


def test_every_alert_has_its_entry_and_every_entry_its_alert() -> None:
    rules = yaml.safe_load(MADE["deploy/prometheus/alerts.yaml"])["groups"][0]["rules"]
    entries = {anchor: text for anchor, text in headings().items() if not anchor.startswith("reading-")}
    assert {rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules} == set(entries)
    assert {rule["alert"].lower() for rule in rules} == set(entries)
    for anchor, text in entries.items():
        assert [part for part in ENTRY_PARTS if part not in text] == [], anchor
    severities = {rule["alert"].lower(): rule["labels"]["severity"] for rule in rules}
    assert {
        anchor: f"`{severity}`" in entries[anchor] for anchor, severity in severities.items()
    } == dict.fromkeys(entries, True)


def test_provisioning_points_at_what_there_is() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    [source] = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    [provider] = yaml.safe_load((folder / "dashboards/rheostat.yaml").read_text())["providers"]
    assert provider["type"] == "file"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(90, "90s"), (3600, "1h"), (259_200, "3d"), (2.5, "2500ms"), (0.0001, "1ms"), (5400, "90m")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_pace_shortens_every_window_and_waiting_time(tmp_path: Path) -> None:
    """Sixtyfold: an hour's window is a minute, `for: 2m` is 2 s, and no name changes."""
    paced = Objectives(pace=60, images_s=5)
    write(tmp_path, paced)
    alerts = yaml.safe_load((tmp_path / "deploy/prometheus/alerts.yaml").read_text())["groups"][0]["rules"]
    by_name = {rule["alert"]: rule for rule in alerts}
    assert by_name["RheostatLatencyBurnsFast"]["for"] == "2s"
    assert "ratio_rate1h" in by_name["RheostatLatencyBurnsFast"]["expr"]
    rules = yaml.safe_load((tmp_path / "deploy/prometheus/rules.yaml").read_text())["groups"]
    of = {rule["record"]: rule["expr"] for group in rules for rule in group["rules"]}
    assert "[1m]" in of["model:rheostat_requests_late:ratio_rate1h"]
    assert 'le="5.0"' in of["model:rheostat_requests_late:ratio_rate1h"]
    assert {duration(window / 60) for window in BURN_WINDOWS} >= {
        "5s",
        duration(3 * DAY / 60),
        duration(MINUTE),
    }


def test_an_objective_between_two_buckets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="31 s is not a bucket"):
        write(tmp_path, Objectives(images_s=31))


def test_the_command_writes_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.observability", "--out", str(tmp_path), "--target", "0.95"]
    subprocess.run(command, cwd=ROOT, check=True)
    alerts = (tmp_path / "deploy/prometheus/alerts.yaml").read_text()
    assert "0.72" in alerts  # 14.4 times 5 %
    assert (tmp_path / "docs/metrics.md").is_file()
