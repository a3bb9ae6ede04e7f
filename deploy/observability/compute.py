"""Where compute goes: what was asked for, granted, spent, saved and wasted, and by which action."""

from __future__ import annotations

from deploy.observability.panels import (
    MODEL,
    RATE,
    SHARE,
    TFLOPS_PER_SECOND,
    Board,
    Panel,
    Query,
    Row,
    mean,
    per_second,
    quantile,
    quantiles,
    share,
)
from protocol import metrics

_NO_METHOD = "no request let a method decide by risk"
_ENTRY = "reading-compute"


def _kind(kind: str) -> str:
    return per_second(metrics.COMPUTE, "model", f'{MODEL},kind="{kind}"')


BUDGETS = Row(
    "Budgets",
    (
        Panel(
            "Share of compute saved",
            "1 minus spent over full, of the jobs that ended. Full is what they would have cost unabridged.",
            SHARE,
            (Query(f"1 - {_kind('spent')} / ({_kind('full')} > 0)", "{{model}}"),),
            _ENTRY,
            "number",
        ),
        Panel(
            "Spent over granted",
            "Mean of completed jobs over half an hour. Soft budgets may pass 1 on a difficult prompt.",
            SHARE,
            (Query(f"model:rheostat_budget_spent_ratio:mean30m{{{MODEL}}}", "{{model}}"),),
            "RheostatBudgetNotKept",
            "number",
        ),
        Panel(
            "Full, requested, granted, spent",
            "TFLOPs a second of the jobs that ended. Requested below full is what callers "
            "saved, granted below requested what the server took, other is encoders and decoder.",
            TFLOPS_PER_SECOND,
            (Query(f"sum by (kind) (model_kind:rheostat_compute_tflops:rate5m{{{MODEL}}})", "{{kind}}"),),
            _ENTRY,
        ),
        Panel(
            "Saved",
            "TFLOPs a second that were not computed, against the unabridged runs of the same requests.",
            TFLOPS_PER_SECOND,
            (Query(f"{_kind('full')} - {_kind('spent')}", "{{model}}"),),
            _ENTRY,
        ),
        Panel(
            "Wasted",
            "TFLOPs a second nobody is billed for: lost to a crash, warm-ups, audits, given back.",
            TFLOPS_PER_SECOND,
            (
                Query(
                    per_second(metrics.WASTED, "reason"),
                    "{{reason}}",
                    "nothing crashed, drained or was audited, and workers are warm",
                ),
            ),
            "RheostatWorkerFlaps",
            "stacked",
        ),
    ),
)

STEPS = Row(
    "Step by step",
    (
        Panel(
            "What evaluations do",
            "Share of evaluations: full, routed (blocks left out), partial, forecast (nothing ran).",
            SHARE,
            (Query(share(metrics.STEPS, "action"), "{{model}} {{action}}"),),
            _ENTRY,
            "stacked",
        ),
        Panel(
            "TFLOPs by action",
            "TFLOPs a second of evaluations as they run, whatever becomes of their jobs.",
            TFLOPS_PER_SECOND,
            (Query(per_second(metrics.STEP_TFLOPS, "action"), "{{action}}"),),
            _ENTRY,
            "stacked",
        ),
        Panel(
            "Seconds of an evaluation",
            "By action: an evaluation's share of its turn, by FLOPs.",
            "s",
            quantiles(metrics.STEP_SECONDS, "action", "that action did not occur"),
            "RheostatLatencyBurnsSlowly",
        ),
        Panel(
            "Blocks",
            "Share of transformer blocks that ran and that were skipped.",
            SHARE,
            (Query(share(metrics.BLOCKS, "outcome"), "{{model}} {{outcome}}"),),
            _ENTRY,
            "stacked",
        ),
        Panel(
            "Rows of a forward",
            "How many samples share a forward: mean and 95th percentile.",
            "short",
            (
                Query(mean(metrics.BATCH_ROWS, "model"), "{{model}} mean"),
                Query(quantile(0.95, metrics.BATCH_ROWS, "model"), "{{model}} p95"),
            ),
            _ENTRY,
        ),
        Panel(
            "Measured over predicted time",
            "Of turns. 1 is as the catalog's speed says; above 1 this machine is slower than it was.",
            "short",
            quantiles(metrics.COST_ERROR, "model"),
            "RheostatLatencyBurnsSlowly",
        ),
    ),
)

CONTROL = Row(
    "Control",
    (
        Panel(
            "Risk",
            "What methods measured before they decided: median and 95th percentile.",
            "short",
            quantiles(metrics.CACHE_RISK, "model", _NO_METHOD),
            _ENTRY,
        ),
        Panel(
            "Threshold",
            "What risks were last held against, over all workers.",
            "short",
            (
                Query(
                    f"min by (model) ({metrics.CONTROLLER_THRESHOLD.name}{{{MODEL}}})",
                    "{{model}} least",
                    _NO_METHOD,
                ),
                Query(
                    f"max by (model) ({metrics.CONTROLLER_THRESHOLD.name}{{{MODEL}}})",
                    "{{model}} most",
                    _NO_METHOD,
                ),
            ),
            _ENTRY,
        ),
        Panel(
            "Decisions by risk",
            "Evaluations a second at which a method weighed a risk.",
            "ops",
            (
                Query(
                    f"sum by (model) (rate({metrics.CACHE_RISK.name}_count{{{MODEL}}}[{RATE}]))",
                    "{{model}}",
                    _NO_METHOD,
                ),
            ),
            _ENTRY,
        ),
    ),
)

COMPUTE = Board(
    "rheostat-compute",
    "Rheostat / Compute",
    "Where compute goes, from budgets down to steps and blocks.",
    (BUDGETS, STEPS, CONTROL),
)
