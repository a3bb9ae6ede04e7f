"""Rules, alerts and panels as Prometheus itself reads them, by its own tool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.observability.__main__ import BOARDS
from deploy.observability.alerts import alerts
from deploy.observability.objectives import Objectives
from deploy.observability.panels import all_queries
from tests.deploy.tools import needs_promtool

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
UNIT_TESTS = sorted(FOLDER.glob("*.test.yaml"))


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should(path: Path) -> None:
    promtool("test", "rules", path.name)


@needs_promtool
def test_the_configuration_is_taken() -> None:
    promtool("check", "config", "prometheus.yaml")


@needs_promtool
def test_panels_are_promql(tmp_path: Path) -> None:
    """promtool reads rules only, so every panel's expression becomes one, Grafana's variables filled in."""
    filled = [query.filled("5m") for _, _, query in all_queries(BOARDS)]
    rules = [{"record": f"panel{number}", "expr": expr} for number, expr in enumerate(filled)]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(path))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [
        case
        for path in UNIT_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {alert.name for alert in alerts(Objectives())}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names
