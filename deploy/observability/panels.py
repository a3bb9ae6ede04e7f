"""From what a panel should show to Grafana's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.observability.objectives import Objectives
from protocol import metrics
from protocol.metrics import Metric

Kind = Literal["lines", "stacked", "number"]

MODEL = 'model=~"$model"'
RATE = "$__rate_interval"
SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${source}")
TFLOPS = "suffix: TFLOP"
TFLOPS_PER_SECOND = "tflops"
SHARE = "percentunit"
_HEIGHT = 8
_WIDTHS: dict[Kind, int] = {"lines": 8, "stacked": 8, "number": 4}


@dataclass(frozen=True)
class Query:
    """One line, or a family of lines. `zero`: why a healthy, busy system may have nothing or zero here."""

    expr: str
    legend: str
    zero: str = ""

    def filled(self, window: str) -> str:
        """The expression with Grafana's variables filled in: all models, rates over `window`."""
        return self.expr.replace(RATE, window).replace("$model", ".*")


@dataclass(frozen=True)
class Panel:
    """One picture. `entry` is the anchor in the runbook that says what to do about it."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    entry: str
    kind: Kind = "lines"


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One dashboard; `uid` is its address and its file's name."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


def per_second(metric: Metric, by: str, matchers: str = MODEL, part: str = "") -> str:
    """A counter's rate, or that of a histogram's `_count` or `_sum`, added up over all but some labels."""
    return f"sum by ({by}) (rate({metric.name}{part}{{{matchers}}}[{RATE}]))"


def quantile(share: float, metric: Metric, by: str, matchers: str = MODEL) -> str:
    """A histogram's quantile, interpolated within its bucket."""
    buckets = f"sum by (le, {by}) (rate({metric.name}_bucket{{{matchers}}}[{RATE}]))"
    return f"histogram_quantile({share:g}, {buckets})"


def quantiles(metric: Metric, by: str, zero: str = "", matchers: str = MODEL) -> tuple[Query, ...]:
    """Median and 95th percentile of a histogram."""
    name = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return tuple(
        Query(quantile(share, metric, by, matchers), f"{name} {said}", zero)
        for share, said in ((0.5, "median"), (0.95, "p95"))
    )


def mean(metric: Metric, by: str, matchers: str = MODEL) -> str:
    """Mean of a histogram's observations."""
    total, count = (per_second(metric, by, matchers, part) for part in ("_sum", "_count"))
    return f"{total} / ({count} > 0)"


def share(metric: Metric, label: str, matchers: str = MODEL) -> str:
    """How a counter divides between the values of a label, in each model."""
    whole = f"(sum by (model) (rate({metric.name}{{{matchers}}}[{RATE}])) > 0)"
    return f"{per_second(metric, f'model, {label}', matchers)} / on (model) group_left () {whole}"


def build(board: Board, objectives: Objectives) -> Any:
    """The board as Grafana's JSON tree. The same board gives the same tree."""
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["rheostat"])
        .readonly()
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-1h", "now")
        .variables([_source(), _model()])
        .link(_other_boards())
        .link(_link("Runbook", objectives.runbook))
    )
    for row in board.rows:
        made = made.with_row(builders.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(_panel(panel, objectives))
    tree = made.build()
    for number, panel_made in enumerate(tree.panels or (), start=1):
        panel_made.id_val = number
    return tree


def encode(tree: Any) -> str:
    """JSON with sorted keys, so that a diff shows what changed."""
    return JSONEncoder(sort_keys=True, indent=1).encode(tree) + "\n"


def _panel(panel: Panel, objectives: Objectives) -> stat.Panel | timeseries.Panel:
    made = _number() if panel.kind == "number" else _lines(stacked=panel.kind == "stacked")
    made = (
        made.title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .height(_HEIGHT)
        .span(_WIDTHS[panel.kind])
        .links([_link("What to do", objectives.entry(panel.entry))])
    )
    for number, query in enumerate(panel.queries):
        made = made.with_target(_target(query, chr(ord("A") + number), panel.kind))
    return made


def _lines(*, stacked: bool) -> timeseries.Panel:
    stacking = common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
    return (
        timeseries.Panel()
        .fill_opacity(40 if stacked else 5)
        .line_width(1)
        .axis_soft_min(0)
        .show_points(common.VisibilityMode.NEVER)
        .stacking(common_builders.StackingConfig().mode(stacking))
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .legend(common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM))
    )


def _number() -> stat.Panel:
    return stat.Panel().no_value("0").graph_mode(common.BigValueGraphMode.AREA)


def _target(query: Query, letter: str, kind: Kind) -> prometheus.Dataquery:
    made = (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(letter)
        .datasource(SOURCE)
        .format(PromQueryFormat.TIME_SERIES)
        .range()
    )
    return made.exemplar("_bucket" in query.expr and kind == "lines")


def _source() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("source").label("Prometheus").type("prometheus")


def _model() -> builders.QueryVariable:
    """The catalog knows a model before anybody has asked for it."""
    return (
        builders.QueryVariable("model")
        .label("Model")
        .datasource(SOURCE)
        .query(f"label_values({metrics.MODEL_SPEED.name}, model)")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    )


def _link(title: str, url: str) -> builders.DashboardLink:
    return builders.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(url).target_blank(True)


def _other_boards() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Rheostat")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags(["rheostat"])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def all_queries(boards: Sequence[Board]) -> list[tuple[Board, Panel, Query]]:
    """Every query of every panel."""
    return [(board, panel, query) for board in boards for panel in board.panels for query in panel.queries]
