"""The nouns every part of the engine shares. No family, no method, no solver stands here."""

from workers.core.conditions import condition_features
from workers.core.forecasts import combine, newton_weights, taylor_weights
from workers.core.interfaces import Cache, Kept, Network, Router, ScheduledSolver, Solver
from workers.core.layout import Grid, Layout, Prediction
from workers.core.parameterization import PREDICTION_TYPES, from_flow, head_flow, to_flow
from workers.core.ranks import ALONE, Alone, Ranks
from workers.core.sample import Anchor, Condition, Ledger, Point, Row, Sample, Schedule, SolverState, Stack
from workers.core.stream import Batch, Hidden, Stream
from workers.core.verdicts import Emit, Go, Jump, Verdict

__all__ = [
    "ALONE",
    "PREDICTION_TYPES",
    "Alone",
    "Anchor",
    "Batch",
    "Cache",
    "Condition",
    "Emit",
    "Go",
    "Grid",
    "Hidden",
    "Jump",
    "Kept",
    "Layout",
    "Ledger",
    "Network",
    "Point",
    "Prediction",
    "Ranks",
    "Router",
    "Row",
    "Sample",
    "Schedule",
    "ScheduledSolver",
    "Solver",
    "SolverState",
    "Stack",
    "Stream",
    "Verdict",
    "combine",
    "condition_features",
    "from_flow",
    "head_flow",
    "newton_weights",
    "taylor_weights",
    "to_flow",
]
