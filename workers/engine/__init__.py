"""Runs samples of many jobs through shared forwards. Knows no queue, no wire, no HTTP."""

from workers.engine.check import NotIsolated, self_test
from workers.engine.engine import Engine
from workers.engine.events import (
    Cancelled,
    EngineEvent,
    Failed,
    Finished,
    Previewed,
    SampleFinished,
    Started,
    StepDone,
)
from workers.engine.follower import Follower
from workers.engine.results import Result, SampleResult, TurnReport
from workers.engine.settings import EngineSettings

__all__ = [
    "Cancelled",
    "Engine",
    "EngineEvent",
    "EngineSettings",
    "Failed",
    "Finished",
    "Follower",
    "NotIsolated",
    "Previewed",
    "Result",
    "SampleFinished",
    "SampleResult",
    "Started",
    "StepDone",
    "TurnReport",
    "self_test",
]
