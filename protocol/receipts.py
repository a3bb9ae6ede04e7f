"""What a run cost, line by line. TFLOPs outside, integer FLOP and MFLOP inside."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

FLOP_PER_TFLOP = 10**12
FLOP_PER_MFLOP = 10**6
MFLOP_PER_TFLOP = 10**6


class Action(StrEnum):
    """What one row did at one evaluation."""

    FULL = "full"
    """Every block ran."""
    ROUTED = "routed"
    """The router left blocks out."""
    PARTIAL = "partial"
    """A prefix, a suffix or the head alone ran."""
    FORECAST = "forecast"
    """Nothing ran; the output was extrapolated."""


class _Frozen(BaseModel):
    # Finite, because JSON would carry NaN as null, and nobody could read the receipt back.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StepLine(_Frozen):
    """One evaluation of one sample. `seconds` is its FLOP share of the turn's wall time.

    `reason` says why the evaluation was what it was, where a method decided: `warmup`, `max_skip` and
    `schedule` are structural, `risk` is a crossing of the threshold, `calm` stayed below it, `rejected` a
    draft that was thrown away, `guard_denied` a full evaluation that the budget refused. Of discrete
    models it says what the evaluation was for: `predict`, `correct` or `denoise`.
    """

    index: int
    action: Action
    blocks_run: int
    blocks_total: int
    tflops: float
    seconds: float
    risk: float | None = None
    threshold: float | None = None
    reason: str | None = None
    attempt: int = 1


class PlanSummary(_Frozen):
    """The plan a sample ran under, see `protocol.plan.Plan`. Without `calibration` it is a safe default."""

    methods: tuple[str, ...]
    num_inference_steps: int
    solver: str
    calibration: str | None = None
    parameters: dict[str, float] = Field(default_factory=dict)
    nodes: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    expected_distance: float | None = None


class Output(_Frozen):
    """What a sample came to, by its content's hash.

    Sizes of pictures and videos, the last three only of a video.
    """

    media_type: str
    bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    duration_s: float | None = None


class SampleReceipt(_Frozen):
    """One sample's account. `granted` and `spent` in TFLOPs of the denoiser; `output` once it is stored."""

    seed: int
    granted: float
    spent: float
    nfe: int
    plan: PlanSummary
    steps: tuple[StepLine, ...] = ()
    output: Output | None = None


class Totals(_Frozen):
    """A job's account without its lines: what lists, events and Redis carry.

    `budget` and `granted` and `spent` are shares of `full_tflops`; `tflops` is what the denoiser spent,
    `other_tflops` what encoders and decoder did; `lost_tflops` is work of killed attempts, not billed.
    """

    budget: float
    granted: float
    spent: float
    full_tflops: float
    tflops: float
    other_tflops: float
    inherited: float = 0.0
    lost_tflops: float = 0.0
    nfe: int
    wall_s: float


class Receipt(Totals):
    """The whole account: the totals and every sample's lines."""

    samples: tuple[SampleReceipt, ...]

    @property
    def totals(self) -> Totals:
        return Totals(**self.model_dump(exclude={"samples"}))
