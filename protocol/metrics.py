"""Metric names, labels and buckets, so that gateways, workers and dashboards cannot disagree.

Names and labels are the contract's. No job id, key or prompt ever stands in a label: each label is `model`
(a catalog name), `budget` (a calibrated point), `route` (a template), `code` (an HTTP status), or one of the
few values listed with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from protocol.receipts import Action
from protocol.states import JobStatus, WorkerState

Exporter = Literal["gateway", "worker"]

STEP_SECONDS_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60),
)
"""From a tiny model's forecast to a long clip's full step."""
REQUEST_SECONDS_BUCKETS = (
    *(0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45),
    *(60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 3600),
)
"""Seconds of images finely enough for an objective among them, then minutes of videos."""
STAGE_SECONDS_BUCKETS = (
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    180,
    600,
    1800,
)
SLACK_BUCKETS = (-600, -120, -60, -30, -10, -5, -1, 0, 1, 5, 10, 30, 60, 120, 600)
"""With 0 among them: what is at or below it was late."""
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
RISK = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Methods have scales of their own: relative errors of a few hundredths, and ours of a few units."""
RATIO = (0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0)
COST_RATIO = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
DISTANCE = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)

ENDS = tuple(status.value for status in JobStatus if status.ended)
ACTIONS = tuple(action.value for action in Action)


@dataclass(frozen=True)
class Metric:
    """One time series family.

    Attributes:
        buckets: only of histograms, rising, in the unit of the name.
        values: label -> all it can be, where that is known beforehand.
        exporters: whose `/metrics` has it.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    exporters: tuple[Exporter, ...] = ("worker",)


JOBS = Metric(
    "rheostat_jobs_total",
    "counter",
    "Jobs ended; those cancelled while they waited are counted by a gateway, dead-lettered ones by nobody.",
    ("model", "status"),
    values={"status": ENDS},
    exporters=("gateway", "worker"),
)
STEPS = Metric(
    "rheostat_steps_total", "counter", "Evaluations run.", ("model", "action"), values={"action": ACTIONS}
)
STEP_TFLOPS = Metric(
    "rheostat_step_tflops_total",
    "counter",
    "TFLOPs of evaluations: those of receipts and the wasted ones.",
    ("model", "action"),
    values={"action": ACTIONS},
)
BLOCKS = Metric(
    "rheostat_blocks_total",
    "counter",
    "Block calls, by outcome.",
    ("model", "outcome"),
    values={"outcome": ("run", "skipped")},
)
COMPUTE = Metric(
    "rheostat_compute_tflops_total",
    "counter",
    "TFLOPs of ended jobs, by kind.",
    ("model", "kind"),
    values={"kind": ("full", "requested", "granted", "spent", "other")},
)
WASTED = Metric(
    "rheostat_wasted_tflops_total",
    "counter",
    "TFLOPs nobody is billed for.",
    ("model", "reason"),
    values={"reason": ("crash", "warmup", "audit", "discarded")},
)
DEGRADED = Metric(
    "rheostat_degraded_total", "counter", "Jobs granted less than asked.", ("model",), exporters=("gateway",)
)
SHED = Metric(
    "rheostat_shed_total",
    "counter",
    "Requests refused under load.",
    ("reason",),
    values={"reason": ("queue_full", "deadline_infeasible_now")},
    exporters=("gateway",),
)
ATTEMPTS = Metric(
    "rheostat_attempts_total",
    "counter",
    "Attempts after the first, by why the one before it ended.",
    ("model", "reason"),
    values={"reason": ("crash", "drain", "preempt")},
)
WEBHOOKS = Metric(
    "rheostat_webhooks_total",
    "counter",
    "Webhooks sent, by outcome.",
    ("outcome",),
    values={"outcome": ("delivered", "retried", "given_up")},
    exporters=("gateway",),
)
HTTP_REQUESTS = Metric(
    "rheostat_http_requests_total", "counter", "HTTP answers.", ("route", "code"), exporters=("gateway",)
)
RESTARTS = Metric(
    "rheostat_worker_restarts_total",
    "counter",
    "Engine processes that ended unasked: a ready one (crash), one that never became ready (unfit).",
    ("reason",),
    values={"reason": ("crash", "unfit")},
)

STEP_SECONDS = Metric(
    "rheostat_step_seconds",
    "histogram",
    "Seconds of an evaluation: its FLOP share of its turn.",
    ("model", "action"),
    STEP_SECONDS_BUCKETS,
    values={"action": ACTIONS},
)
REQUEST_SECONDS = Metric(
    "rheostat_request_seconds",
    "histogram",
    "Seconds from acceptance to the end.",
    ("model", "status"),
    REQUEST_SECONDS_BUCKETS,
    values={"status": ENDS},
)
QUEUE_SECONDS = Metric(
    "rheostat_queue_seconds",
    "histogram",
    "Seconds from acceptance to a start.",
    ("model",),
    REQUEST_SECONDS_BUCKETS,
)
STAGE_SECONDS = Metric(
    "rheostat_stage_seconds",
    "histogram",
    "Seconds of a completed job, by stage.",
    ("model", "stage"),
    STAGE_SECONDS_BUCKETS,
    values={"stage": ("encode", "denoise", "decode", "store")},
)
BUDGET_SPENT = Metric(
    "rheostat_budget_spent_ratio", "histogram", "Spent over granted of completed jobs.", ("model",), RATIO
)
BATCH_ROWS = Metric("rheostat_batch_rows", "histogram", "Rows in a forward.", ("model",), ROWS)
CACHE_RISK = Metric(
    "rheostat_cache_risk", "histogram", "Risk an evaluation was decided by.", ("model",), RISK
)
COST_ERROR = Metric(
    "rheostat_cost_error_ratio",
    "histogram",
    "Measured over predicted seconds of a turn.",
    ("model",),
    COST_RATIO,
)
AUDIT_PIXEL_DISTANCE = Metric(
    "rheostat_audit_pixel_distance",
    "histogram",
    "Root mean square of the same in pixels, black to white being 1.",
    ("model", "budget"),
    DISTANCE,
)
DEADLINE_SLACK = Metric(
    "rheostat_deadline_slack_seconds",
    "histogram",
    "Deadline minus end, of jobs that named one; negative is late.",
    ("model",),
    SLACK_BUCKETS,
)
AUDIT_DISTANCE = Metric(
    "rheostat_audit_distance",
    "histogram",
    "Relative distance of audited jobs' latents to their unabridged run's, by the budget next to theirs.",
    ("model", "budget"),
    DISTANCE,
)

QUEUE_JOBS = Metric("rheostat_queue_jobs", "gauge", "Jobs waiting.", ("model",), exporters=("gateway",))
OUTSTANDING = Metric(
    "rheostat_outstanding_tflops",
    "gauge",
    "TFLOPs queued and left of running.",
    ("model",),
    exporters=("gateway",),
)
OLDEST_JOB = Metric(
    "rheostat_oldest_job_seconds",
    "gauge",
    "Age of the oldest waiting job.",
    ("model",),
    exporters=("gateway",),
)
MODEL_SPEED = Metric(
    "rheostat_model_tflops_per_second",
    "gauge",
    "Speed of a model as last measured; outlives its workers.",
    ("model",),
    exporters=("gateway",),
)
DEAD_JOBS = Metric(
    "rheostat_dead_jobs",
    "gauge",
    "Dead-lettered jobs that can still be looked up.",
    ("model",),
    exporters=("gateway",),
)
REDIS_UP = Metric("rheostat_redis_up", "gauge", "1 if Redis answers.", exporters=("gateway",))
RUNNING_SAMPLES = Metric("rheostat_running_samples", "gauge", "Samples in flight.", ("model",))
WORKER_SPEED = Metric(
    "rheostat_worker_tflops_per_second", "gauge", "This worker's measured speed.", ("model",)
)
WORKER_STATE = Metric(
    "rheostat_worker_state",
    "gauge",
    "1 for the state the worker is in.",
    ("state",),
    values={"state": tuple(state.value for state in WorkerState)},
)
WORKER_FREE = Metric("rheostat_worker_free_bytes", "gauge", "Memory left for samples.")
CONTROLLER_THRESHOLD = Metric(
    "rheostat_controller_threshold", "gauge", "What a risk was last held against.", ("model",)
)

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


def owned_by(exporter: Exporter) -> tuple[Metric, ...]:
    """What this process exports."""
    return tuple(metric for metric in ALL if exporter in metric.exporters)


def budget_label(budget: float) -> str:
    """A calibrated share of full compute as a label: `0.35`."""
    return f"{budget:g}"
