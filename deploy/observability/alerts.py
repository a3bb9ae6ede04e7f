"""Alerts. Each has an entry of its own in docs/runbook.md, under its name.

`page` wakes somebody: users are hurt now. `ticket` can wait for the morning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploy.observability.objectives import MINUTE, PAGE, TICKET, Burn, Objectives
from deploy.observability.rules import Tree, ended_requests, late_ratio
from protocol import metrics


@dataclass(frozen=True)
class Alert:
    """`wait_s`: how long the expression must hold, before pace. `zero`: why a calm system returns nothing."""

    name: str
    expr: str
    wait_s: float
    severity: Literal["page", "ticket"]
    summary: str
    zero: str = "an alert's expression returns nothing while all is well"


def alerts(objectives: Objectives) -> list[Alert]:
    """All of them, those of users first."""
    return [*_latency(objectives), *_queue(objectives), *_keeping(objectives), *_parts(objectives)]


def burning(burns: Sequence[Burn], objectives: Objectives) -> str:
    """True where one of the pairs burns in both its windows and enough requests say so."""
    pairs = []
    for burn in burns:
        limit = f"{burn.factor * (1 - objectives.target):.6g}"
        pairs.append(
            f"({late_ratio(burn.long_s)} > {limit}"
            f" and {late_ratio(burn.short_s)} > {limit}"
            f" and {ended_requests(burn.long_s)} >= {objectives.least_requests})"
        )
    return " or ".join(pairs)


def _latency(objectives: Objectives) -> list[Alert]:
    promise = f"{objectives.target:.4g} of requests in time"
    return [
        Alert(
            "RheostatLatencyBurnsFast",
            burning(PAGE, objectives),
            min(burn.wait_s for burn in PAGE),
            "page",
            f"Requests of {{{{ $labels.model }}}} are late or fail; the promise ({promise}) breaks in hours.",
        ),
        Alert(
            "RheostatLatencyBurnsSlowly",
            burning(TICKET, objectives),
            min(burn.wait_s for burn in TICKET),
            "ticket",
            f"Requests of {{{{ $labels.model }}}} are late or fail; the promise ({promise}) breaks in days.",
        ),
    ]


def _queue(objectives: Objectives) -> list[Alert]:
    oldest = f"max by (model) ({metrics.OLDEST_JOB.name})"
    waiting = f"max by (model) ({metrics.QUEUE_JOBS.name}) > 0"
    ready = f'sum({metrics.WORKER_STATE.name}{{state="ready"}}) > 0'
    dead = f"max by (model) (delta({metrics.DEAD_JOBS.name}[{objectives.duration(15 * MINUTE)}])) > 0"
    return [
        Alert(
            "RheostatQueueOverdue",
            f"{oldest} > {objectives.queue_deadline_s:g}",
            2 * MINUTE,
            "page",
            "A job of {{ $labels.model }} has waited {{ $value | humanizeDuration }}, past its deadline.",
        ),
        Alert(
            "RheostatNobodyServes",
            f"({waiting}) unless on () ({ready})",
            10 * MINUTE,
            "page",
            "Jobs of {{ $labels.model }} wait and no worker is ready.",
        ),
        Alert(
            "RheostatDeadLetters",
            dead,
            0,
            "ticket",
            "A job of {{ $labels.model }} crashed its worker again and again and was given up.",
        ),
    ]


def _keeping(objectives: Objectives) -> list[Alert]:
    today, week = (f"model_budget:rheostat_audit_distance:mean{window}" for window in ("1h", "7d"))
    enough = f"model_budget:rheostat_audits:increase1h >= {objectives.least_audits}"
    return [
        Alert(
            "RheostatBudgetNotKept",
            f"model:rheostat_budget_spent_ratio:mean30m > {objectives.over_budget:g}",
            15 * MINUTE,
            "ticket",
            "Jobs of {{ $labels.model }} spend {{ $value | humanizePercentage }} of what was granted.",
        ),
        Alert(
            "RheostatAuditDistanceDrifts",
            f"({today} > {objectives.drift:g} * {week}) and {enough}",
            30 * MINUTE,
            "ticket",
            "Results of {{ $labels.model }} at budget {{ $labels.budget }} stray further than last week.",
        ),
    ]


def _parts(objectives: Objectives) -> list[Alert]:
    window = objectives.duration(15 * MINUTE)
    replaced = f"sum by (instance) (increase({metrics.RESTARTS.name}[{window}]))"
    restarted = (
        f'sum by (instance) (changes(process_start_time_seconds{{job=~"rheostat.*worker.*"}}[{window}]))'
    )
    return [
        Alert(
            "RheostatWorkerFlaps",
            f"{replaced} > 2 or {restarted} > 2",
            0,
            "ticket",
            "Worker {{ $labels.instance }} has lost its engine or itself {{ $value | humanize }} times.",
        ),
        Alert(
            "RheostatRedisDown",
            f"{metrics.REDIS_UP.name} == 0",
            MINUTE,
            "page",
            "Gateway {{ $labels.instance }} gets no answer from Redis: it refuses all requests.",
        ),
        Alert(
            "RheostatScrapeMissing",
            'up{job=~"rheostat.*"} == 0 or absent(up{job=~"rheostat.*gateway.*"})',
            2 * MINUTE,
            "ticket",
            "{{ $labels.job }} {{ $labels.instance }} does not answer, or no gateway is scraped at all.",
        ),
    ]


def alerts_file(objectives: Objectives) -> Tree:
    """The alerts as Prometheus reads them."""
    return {
        "groups": [
            {"name": "rheostat-alerts", "rules": [_rule(one, objectives) for one in alerts(objectives)]}
        ]
    }


def _rule(alert: Alert, objectives: Objectives) -> Tree:
    rule: Tree = {"alert": alert.name, "expr": alert.expr}
    if alert.wait_s:
        rule["for"] = objectives.duration(alert.wait_s)
    rule["labels"] = {"severity": alert.severity}
    rule["annotations"] = {"summary": alert.summary, "runbook_url": objectives.entry(alert.name)}
    return rule
