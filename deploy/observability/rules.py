"""Recording rules: what is read more than once, or over windows too long to read each time.

A name begins with its labels: `model_budget:...` has `model` and `budget`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.observability.objectives import BURN_WINDOWS, DAY, HOUR, MINUTE, Objectives, duration
from protocol import metrics

Tree = dict[str, object]

SELDOM_S = 60
"""For windows of hours. Less than the 5 minutes after which Prometheus forgets a value."""


@dataclass(frozen=True)
class Rule:
    """`zero`: why a healthy, busy system may have no value for it."""

    record: str
    expr: str
    zero: str = ""


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, one after another; `every_s` None: as often as all others."""

    name: str
    every_s: int | None
    rules: tuple[Rule, ...]


def recording_rules(objectives: Objectives) -> tuple[Group, ...]:
    """All of them."""
    short = [window for window in BURN_WINDOWS if window <= HOUR]
    long = [window for window in BURN_WINDOWS if window > HOUR]
    return (
        Group("rheostat-latency", None, _latency(objectives, short)),
        Group("rheostat-latency-long", SELDOM_S, _latency(objectives, long)),
        Group("rheostat-compute", None, _compute(objectives)),
        Group("rheostat-quality", SELDOM_S, _quality(objectives)),
    )


NOBODY_LATE = "no request was late or failed"


def late_ratio(window_s: int) -> str:
    """Name of the share of ended requests that were late or failed."""
    return f"model:rheostat_requests_late:ratio_rate{duration(window_s)}"


def ended_requests(window_s: int) -> str:
    """Name of the number of ended requests."""
    return f"model:rheostat_requests_ended:increase{duration(window_s)}"


def _latency(objectives: Objectives, windows: Sequence[int]) -> tuple[Rule, ...]:
    images = f'model!~"{objectives.video_models}"', objectives.images_s
    videos = f'model=~"{objectives.video_models}"', objectives.videos_s
    rules = []
    for window_s in windows:
        window = objectives.duration(window_s)
        late = " or ".join(_late(models, limit_s, window) for models, limit_s in (images, videos))
        rules.append(Rule(late_ratio(window_s), late, NOBODY_LATE))
        ended = f'{metrics.REQUEST_SECONDS.name}_count{{status!="cancelled"}}'
        rules.append(Rule(ended_requests(window_s), f"sum by (model) (increase({ended}[{window}]))"))
    return tuple(rules)


def _late(models: str, limit_s: float, window: str) -> str:
    """Failed requests are late; cancelled ones are nobody's fault."""
    name, bound = metrics.REQUEST_SECONDS.name, float(limit_s)
    if bound not in metrics.REQUEST_SECONDS.buckets:
        raise ValueError(f"{limit_s:g} s is not a bucket of {name}: {metrics.REQUEST_SECONDS.buckets}")
    in_time = f'sum by (model) (rate({name}_bucket{{status="completed",le="{bound}",{models}}}[{window}]))'
    ended = f'sum by (model) (rate({name}_count{{status!="cancelled",{models}}}[{window}]))'
    return f"1 - {in_time} / ({ended} > 0)"


def mean(metric: metrics.Metric, window: str, labels: str, offset: str = "") -> str:
    """Mean of a histogram's observations; nothing where there were none."""
    total, count = (
        f"sum by ({labels}) (rate({metric.name}_{part}[{window}]{offset}))" for part in ("sum", "count")
    )
    return f"{total} / ({count} > 0)"


def _compute(objectives: Objectives) -> tuple[Rule, ...]:
    five, thirty = objectives.duration(5 * MINUTE), objectives.duration(30 * MINUTE)
    compute = f"sum by (model, kind) (rate({metrics.COMPUTE.name}[{five}]))"
    queued = f"max by (model) ({metrics.OUTSTANDING.name})"
    speed = f"max by (model) ({metrics.MODEL_SPEED.name})"
    return (
        Rule("model_kind:rheostat_compute_tflops:rate5m", compute),
        Rule("model:rheostat_outstanding:seconds", f"{queued} / ({speed} > 0)"),
        Rule("model:rheostat_budget_spent_ratio:mean30m", mean(metrics.BUDGET_SPENT, thirty, "model")),
    )


_NO_AUDITS = "no job has been audited"


def _quality(objectives: Objectives) -> tuple[Rule, ...]:
    hour, week = objectives.duration(HOUR), objectives.duration(7 * DAY)
    of_audits, labels = metrics.AUDIT_DISTANCE, "model, budget"
    before = mean(of_audits, week, labels, f" offset {hour}")
    counted = f"sum by ({labels}) (increase({of_audits.name}_count[{hour}]))"
    return (
        Rule("model_budget:rheostat_audit_distance:mean1h", mean(of_audits, hour, labels), _NO_AUDITS),
        Rule("model_budget:rheostat_audit_distance:mean7d", before, _NO_AUDITS),
        Rule("model_budget:rheostat_audits:increase1h", counted, _NO_AUDITS),
    )


def rules_file(objectives: Objectives) -> Tree:
    """The recording rules as Prometheus reads them."""
    return {"groups": [_group(group, objectives) for group in recording_rules(objectives)]}


def _group(group: Group, objectives: Objectives) -> Tree:
    made: Tree = {"name": group.name}
    if group.every_s is not None:
        made["interval"] = duration(max(1.0, group.every_s / objectives.pace))
    made["rules"] = [{"record": rule.record, "expr": rule.expr} for rule in group.rules]
    return made
