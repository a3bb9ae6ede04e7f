"""What callers see: latency, the queue, deadlines, and what is refused or fails."""

from __future__ import annotations

from deploy.observability.objectives import DAY, HOUR, MINUTE
from deploy.observability.panels import (
    MODEL,
    RATE,
    SHARE,
    Board,
    Panel,
    Query,
    Row,
    mean,
    per_second,
    quantile,
    quantiles,
)
from deploy.observability.rules import NOBODY_LATE, late_ratio
from protocol import metrics

_ENTRY = "reading-service"
_CALM = "nothing was refused"
_ENDED = f'{MODEL},status="completed"'
_NO_DEADLINE = "no request named a deadline"


def _late_of_deadline() -> str:
    late = per_second(metrics.DEADLINE_SLACK, "model", f'{MODEL},le="0.0"', "_bucket")
    return f"{late} / ({per_second(metrics.DEADLINE_SLACK, 'model', part='_count')} > 0)"


LATENCY = Row(
    "Latency",
    (
        Panel(
            "Jobs ended",
            "A second, by how they ended.",
            "reqps",
            (Query(per_second(metrics.JOBS, "status"), "{{status}}"),),
            _ENTRY,
            "stacked",
        ),
        Panel(
            "Seconds of a request",
            "From acceptance to the end, of completed jobs. Dots are traces.",
            "s",
            (
                *quantiles(metrics.REQUEST_SECONDS, "model", matchers=_ENDED),
                Query(quantile(0.99, metrics.REQUEST_SECONDS, "model", _ENDED), "{{model}} p99"),
            ),
            "RheostatLatencyBurnsFast",
        ),
        Panel(
            "Late or failed",
            "Share of requests that missed the latency objective or failed, over the windows of the alerts.",
            SHARE,
            tuple(
                Query(f"{late_ratio(window)}{{{MODEL}}}", f"{{{{model}}}} {said}", NOBODY_LATE)
                for window, said in ((5 * MINUTE, "5m"), (HOUR, "1h"), (DAY, "1d"))
            ),
            "RheostatLatencyBurnsFast",
        ),
        Panel(
            "Seconds by stage",
            "Mean of completed jobs: encode, denoise (its share of shared turns), decode, store.",
            "s",
            (Query(mean(metrics.STAGE_SECONDS, "model, stage"), "{{model}} {{stage}}"),),
            _ENTRY,
            "stacked",
        ),
        Panel(
            "Seconds in the queue",
            "From acceptance to a start; a job that starts again counts again.",
            "s",
            quantiles(metrics.QUEUE_SECONDS, "model"),
            "RheostatQueueOverdue",
        ),
        Panel(
            "Deadlines missed",
            "Share of jobs with a deadline that ended after it.",
            SHARE,
            (Query(_late_of_deadline(), "{{model}}", "no job that named a deadline ended after it"),),
            "RheostatQueueOverdue",
        ),
        Panel(
            "Time left at the end",
            "Deadline minus end. The 5th percentile: one in twenty has less.",
            "s",
            (
                Query(quantile(0.05, metrics.DEADLINE_SLACK, "model"), "{{model}} p5", _NO_DEADLINE),
                Query(quantile(0.5, metrics.DEADLINE_SLACK, "model"), "{{model}} median", _NO_DEADLINE),
            ),
            "RheostatQueueOverdue",
        ),
    ),
)

QUEUE = Row(
    "Queue",
    (
        Panel(
            "Jobs waiting",
            "For each model.",
            "short",
            (Query(f"max by (model) ({metrics.QUEUE_JOBS.name}{{{MODEL}}})", "{{model}}"),),
            "RheostatQueueOverdue",
        ),
        Panel(
            "Oldest waiting job",
            "How long it has waited. A job that names no deadline is due after the queue's `default_due_ms`.",
            "s",
            (Query(f"max by (model) ({metrics.OLDEST_JOB.name}{{{MODEL}}})", "{{model}}"),),
            "RheostatQueueOverdue",
        ),
        Panel(
            "Work ahead",
            "What is queued and running, in seconds of one worker at its speed. Scaling follows this.",
            "s",
            (Query(f"model:rheostat_outstanding:seconds{{{MODEL}}}", "{{model}}"),),
            "RheostatQueueOverdue",
        ),
    ),
)

REFUSED = Row(
    "Degraded, refused, failed",
    (
        Panel(
            "Degraded",
            "Jobs a second that were granted less than they asked for, within their floor.",
            "reqps",
            (
                Query(
                    per_second(metrics.DEGRADED, "model"),
                    "{{model}}",
                    "nobody is degraded before the gateway lowers grants under load",
                ),
            ),
            _ENTRY,
        ),
        Panel(
            "Shed",
            "Requests a second refused under load, by reason.",
            "reqps",
            (Query(f"sum by (reason) (rate({metrics.SHED.name}[{RATE}]))", "{{reason}}", _CALM),),
            "RheostatQueueOverdue",
        ),
        Panel(
            "HTTP answers",
            "A second, by status.",
            "reqps",
            (Query(f"sum by (code) (rate({metrics.HTTP_REQUESTS.name}[{RATE}]))", "{{code}}"),),
            _ENTRY,
            "stacked",
        ),
        Panel(
            "Errors by route",
            "Answers a second with a status from 400.",
            "reqps",
            (
                Query(
                    f'sum by (route, code) (rate({metrics.HTTP_REQUESTS.name}{{code=~"[45].."}}[{RATE}]))',
                    "{{code}} {{route}}",
                    _CALM,
                ),
            ),
            _ENTRY,
        ),
        Panel(
            "Attempts after the first",
            "A second, by what ended the one before: a crash, a drain, a hand-back.",
            "ops",
            (Query(per_second(metrics.ATTEMPTS, "reason"), "{{reason}}", "no worker died or drained"),),
            "RheostatWorkerFlaps",
        ),
        Panel(
            "Dead letters",
            "Jobs given up after crashing their worker again and again, as long as they can be looked up.",
            "short",
            (
                Query(
                    f"max by (model) ({metrics.DEAD_JOBS.name}{{{MODEL}}})",
                    "{{model}}",
                    "no job was given up",
                ),
            ),
            "RheostatDeadLetters",
        ),
        Panel(
            "Webhooks",
            "A second, by outcome.",
            "ops",
            (
                Query(
                    f"sum by (outcome) (rate({metrics.WEBHOOKS.name}[{RATE}]))",
                    "{{outcome}}",
                    "webhooks are not served yet",
                ),
            ),
            _ENTRY,
        ),
    ),
)

SERVICE = Board(
    "rheostat-service",
    "Rheostat / Service",
    "What callers see: latency, the queue, deadlines, refusals and failures.",
    (LATENCY, QUEUE, REFUSED),
)
