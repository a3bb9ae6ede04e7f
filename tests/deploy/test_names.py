"""No panel, rule or alert may name a series, a label or a value that nobody exports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from protocol.metrics import ALL
from tests.deploy.exports import TARGET, exported, with_rules
from tests.deploy.promql import Selector, read

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RULES = [ROOT / "deploy" / "prometheus" / name for name in ("rules.yaml", "alerts.yaml")]
BY_SAMPLE = {
    metric.name + part: metric
    for metric in ALL
    for part in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}


def of_board(path: Path) -> list[str]:
    """Every expression of a dashboard as it is committed, its variables' too."""
    tree = json.loads(path.read_text())
    targets = [target["expr"] for panel in tree["panels"] for target in panel.get("targets", [])]
    queries = [one["query"] for one in tree["templating"]["list"] if one["type"] == "query"]
    return targets + [
        re.sub(r"label_values\((\w+), (\w+)\)", r"sum by (\2) (\1)", query) for query in queries
    ]


def of_rules(path: Path) -> list[str]:
    tree = yaml.safe_load(path.read_text())
    return [rule["expr"] for group in tree["groups"] for rule in group["rules"]]


def complaints(expr: str, known: dict[str, set[str]]) -> list[str]:
    """What an expression names that does not exist."""
    reading = read(expr)
    assert reading.selectors, f"nothing is read by {expr}"
    found = [said for selector in reading.selectors for said in _of(selector, known)]
    anywhere = set().union(*(known.get(selector.name, set()) for selector in reading.selectors))
    return found + [f"matched on {label}" for label in reading.matched_on - anywhere]


def _of(selector: Selector, known: dict[str, set[str]]) -> list[str]:
    if selector.name not in known:
        return [f"nobody exports {selector.name}"]
    labels = known[selector.name]
    named = {label for label, _, _ in selector.matchers} | selector.grouped_by
    wrong = [f"{selector.name} has no label {label}" for label in sorted(named - labels)]
    return wrong + [
        f'{selector.name} is never {label}{operator}"{value}"'
        for label, operator, value in selector.matchers
        if not _possible(selector.name, label, operator, value)
    ]


def _possible(name: str, label: str, operator: str, value: str) -> bool:
    """Whether the matcher can tell anything: for labels whose values are known, it names one of them."""
    metric = BY_SAMPLE.get(name)
    if metric is None or label in TARGET | {"model"}:
        return True
    if label == "le":
        return value in {str(float(bound)) for bound in metric.buckets}
    values = metric.values.get(label)
    if values is None:
        return True
    return any(re.fullmatch(value, one) for one in values) if "~" in operator else value in values


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return with_rules()


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_name_what_is_exported(path: Path, known: dict[str, set[str]]) -> None:
    assert {expr: found for expr in of_board(path) if (found := complaints(expr, known))} == {}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_and_alerts_name_what_is_exported(path: Path, known: dict[str, set[str]]) -> None:
    assert {expr: found for expr in of_rules(path) if (found := complaints(expr, known))} == {}


def test_every_metric_of_ours_is_on_a_dashboard_or_in_a_rule(known: dict[str, set[str]]) -> None:
    """What nobody looks at need not be counted."""
    expressions = [expr for path in BOARDS for expr in of_board(path)]
    expressions += [expr for path in RULES for expr in of_rules(path)]
    used = {selector.name for expr in expressions for selector in read(expr).selectors}
    assert {metric.name for name, metric in BY_SAMPLE.items() if name in used} == {one.name for one in ALL}


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("rate(rheostat_jobs[5m])", "nobody exports rheostat_jobs"),
        ('sum by (model) (rate(rheostat_shed_total{reason="queue_full"}[5m]))', "has no label model"),
        ('rheostat_jobs_total{state="failed"}', "has no label state"),
        ('rheostat_compute_tflops_total{kind="saved"}', 'never kind="saved"'),
        ('rheostat_request_seconds_bucket{le="31.0"}', 'never le="31.0"'),
        ('rheostat_jobs_total{status=~"broken|lost"}', 'never status=~"broken|lost"'),
        ("sum(rheostat_deadline_slack_seconds_sum)", "nobody exports rheostat_deadline_slack_seconds_sum"),
        ("rheostat_redis_up * on (shard) group_left () up", "matched on shard"),
        ("model:rheostat_requests_late:ratio_rate9m > 1", "nobody exports model:rheostat_requests_late"),
        ("max by (model) (up) > 0 and sum by (model) (rheostat_queue_jobs)", "up has no label model"),
    ],
)
def test_what_does_not_exist_is_found(expr: str, complaint: str, known: dict[str, set[str]]) -> None:
    assert complaint in " ".join(complaints(expr, known))


def test_reading_an_expression() -> None:
    reading = read(
        'sum by (le, model) (rate(a_bucket{model=~"$model",le="1.0"}[$__rate_interval] offset 5m)) > 2.5e3'
    )
    [selector] = reading.selectors
    assert selector.name == "a_bucket"
    assert selector.matchers == [("model", "=~", "$model"), ("le", "=", "1.0")]
    assert selector.grouped_by == {"le", "model"}


def test_both_processes_export_what_the_contract_says() -> None:
    names = exported()
    missing = [
        metric.name for metric in ALL if metric.name not in names and metric.name + "_count" not in names
    ]
    assert missing == []
