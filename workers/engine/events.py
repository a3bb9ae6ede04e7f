"""What a turn tells. `id` is the job's; a job ends with exactly one of Finished, Failed, Cancelled.

Times are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL.Image import Image

from protocol.errors import ErrorInfo
from protocol.receipts import StepLine
from workers.engine.results import Result, SampleResult


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt is encoded, between these times, and the first sample has its place."""

    id: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """One evaluation of one sample. `spent_tflops` is the sample's so far."""

    id: str
    sample: int
    line: StepLine
    spent_tflops: float
    model: str
    ended_s: float


@dataclass(frozen=True, slots=True)
class Previewed:
    """What a sample promised to become after evaluation `step`. `tflops` is what it took to show it."""

    id: str
    sample: int
    step: int
    image: Image
    tflops: float


@dataclass(frozen=True, slots=True)
class SampleFinished:
    """One sample is decoded, between these times."""

    id: str
    sample: int
    result: SampleResult
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    id: str
    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    id: str
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Cancelled:
    id: str


EngineEvent = Started | StepDone | Previewed | SampleFinished | Finished | Failed | Cancelled
