"""Whether budgets cost more quality than was calibrated, and whether they are kept."""

from __future__ import annotations

from deploy.observability.panels import (
    MODEL,
    SHARE,
    TFLOPS_PER_SECOND,
    Board,
    Panel,
    Query,
    Row,
    per_second,
    quantile,
)
from protocol import metrics

_ENTRY = "reading-quality"
_NO_AUDIT = "no job has been audited: audits are off, or workers were never idle"
_NO_METHOD = "no request let a method decide by risk"


def _beyond(bound: float) -> str:
    """Share of completed jobs whose spent over granted lies above a bucket's bound."""
    within = per_second(metrics.BUDGET_SPENT, "model", f'{MODEL},le="{bound}"', "_bucket")
    return f"1 - {within} / ({per_second(metrics.BUDGET_SPENT, 'model', part='_count')} > 0)"


AUDITS = Row(
    "Audits",
    (
        Panel(
            "Distance by budget",
            "Mean relative distance of audited jobs' latents to their unabridged run's, over an hour.",
            "short",
            (
                Query(
                    f"model_budget:rheostat_audit_distance:mean1h{{{MODEL}}}",
                    "{{model}} {{budget}}",
                    _NO_AUDIT,
                ),
            ),
            "RheostatAuditDistanceDrifts",
        ),
        Panel(
            "Against the week",
            "The hour's mean over the week's. Above the alert's drift, results stray further.",
            "short",
            (
                Query(
                    f"model_budget:rheostat_audit_distance:mean1h{{{MODEL}}}"
                    f" / model_budget:rheostat_audit_distance:mean7d{{{MODEL}}}",
                    "{{model}} {{budget}}",
                    _NO_AUDIT,
                ),
            ),
            "RheostatAuditDistanceDrifts",
        ),
        Panel(
            "Worst of twenty",
            "95th percentile of the distances.",
            "short",
            (
                Query(
                    quantile(0.95, metrics.AUDIT_DISTANCE, "model, budget"), "{{model}} {{budget}}", _NO_AUDIT
                ),
            ),
            "RheostatAuditDistanceDrifts",
        ),
        Panel(
            "Worst of twenty in pixels",
            "95th percentile of the root mean square between the pictures, black to white being 1.",
            "short",
            (
                Query(
                    quantile(0.95, metrics.AUDIT_PIXEL_DISTANCE, "model, budget"),
                    "{{model}} {{budget}}",
                    _NO_AUDIT,
                ),
            ),
            "RheostatAuditDistanceDrifts",
        ),
        Panel(
            "Audits in an hour",
            "By budget. A mean of few says little.",
            "short",
            (
                Query(
                    f"model_budget:rheostat_audits:increase1h{{{MODEL}}}", "{{model}} {{budget}}", _NO_AUDIT
                ),
            ),
            _ENTRY,
        ),
        Panel(
            "What audits cost",
            "TFLOPs a second, computed in idle time and billed to nobody.",
            TFLOPS_PER_SECOND,
            (Query(per_second(metrics.WASTED, "model", f'{MODEL},reason="audit"'), "{{model}}", _NO_AUDIT),),
            _ENTRY,
        ),
    ),
)

KEEPING = Row(
    "Budgets kept",
    (
        Panel(
            "Spent beyond the grant",
            "Share of completed jobs that spent more than 105 % and 125 % of their grant.",
            SHARE,
            tuple(
                Query(_beyond(bound), f"{{{{model}}}} > {bound:g}", "no job spent as much")
                for bound in (1.05, 1.25)
            ),
            "RheostatBudgetNotKept",
        ),
        Panel(
            "Mean spent over granted",
            "Over half an hour. Well below 1, plans are dearer than their runs: budgets buy too little.",
            SHARE,
            (Query(f"model:rheostat_budget_spent_ratio:mean30m{{{MODEL}}}", "{{model}}"),),
            "RheostatBudgetNotKept",
        ),
        Panel(
            "Controller: threshold and risk",
            "Where the threshold moves away from the median risk, prompts are not like the calibration's.",
            "short",
            (
                Query(
                    f"avg by (model) ({metrics.CONTROLLER_THRESHOLD.name}{{{MODEL}}})",
                    "{{model}} threshold",
                    _NO_METHOD,
                ),
                Query(quantile(0.5, metrics.CACHE_RISK, "model"), "{{model}} median risk", _NO_METHOD),
            ),
            "RheostatAuditDistanceDrifts",
        ),
        Panel(
            "Median risk over threshold",
            "Above 1, most decisions are for a full evaluation: the budget has no slack for these prompts.",
            SHARE,
            (
                Query(
                    f"{quantile(0.5, metrics.CACHE_RISK, 'model')}"
                    f" / avg by (model) ({metrics.CONTROLLER_THRESHOLD.name}{{{MODEL}}})",
                    "{{model}}",
                    _NO_METHOD,
                ),
            ),
            "RheostatAuditDistanceDrifts",
        ),
    ),
)

QUALITY = Board(
    "rheostat-quality",
    "Rheostat / Quality",
    "Whether results stray further than calibrated, and whether budgets are kept.",
    (AUDITS, KEEPING),
)
