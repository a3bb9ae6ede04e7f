"""The model catalog: what gateways know of a model without its weights.

Written by workers when they have loaded a model, kept in Redis without a TTL, read by gateways to validate
and to price. `digest` names the exact weights; jobs, receipts and checkpoints carry it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from protocol.calibration import CalibrationPoint
from protocol.jobs import LoraName
from protocol.methods import VARIANTS
from protocol.shapes import ModelShapes
from protocol.vocabularies import Vocabulary

STANDARD_BUDGETS = (0.25, 0.35, 0.5, 0.75, 1.0)


def _absent(value: object) -> bool:
    """Left out where there is none, so that older gateways read the entry."""
    return value in (None, ())


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SizeLimits(_Frozen):
    """Legal sizes in pixels: `min_side` to `max_side` in steps of `multiple`, at most `max_pixels` in all."""

    multiple: int
    min_side: int
    max_side: int
    max_pixels: int


class FrameLimits(_Frozen):
    """Legal numbers of frames of a video: 1, 1 + `multiple`, 1 + 2 * `multiple` and so on to `max_frames`."""

    multiple: int
    max_frames: int

    @property
    def legal(self) -> range:
        return range(1, self.max_frames + 1, self.multiple)


class LengthLimits(_Frozen):
    """Legal lengths of a sequence, in tokens; a piece of music has all its voices' tokens."""

    min_length: PositiveInt
    max_length: PositiveInt


class InputDefaults(_Frozen):
    """What a request gets where it is silent: `width` and `height` of pictures, `length` of sequences."""

    width: int | None = None
    height: int | None = None
    num_inference_steps: int
    guidance_scale: float | None = None
    num_frames: int | None = None
    length: int | None = Field(default=None, exclude_if=_absent)


class FewSteps(_Frozen):
    """The student of few steps that a checkpoint carries, for requests of one lane.

    It runs `num_inference_steps` steps of `solver` on the checkpoint's own grid of so many, never more or
    fewer. `shapes` are the checkpoint's, with what is pruned in the student; `routed` if it has a router.
    """

    num_inference_steps: PositiveInt
    solver: str
    shapes: ModelShapes
    routed: bool = False


class CatalogEntry(_Frozen):
    """One served model.

    `sizes` are there if `modality` is "image" or "video", `frames` and `fps`, the frames that make a second,
    if it is "video", `lengths` and `vocabulary`, how tokens are read, if it is "text" or "music".
    `input_fields` are the fields of the native `input` this model takes, `required_fields` those it needs
    beside the prompt, `methods` what a budget may name.
    `embedded_guidance` says that `guidance_scale` is a network input, so one lane suffices; `always_guided`
    that true guidance needs no negative prompt, an absent one being the empty one. The last measured speed is
    `tflops_per_second`, 0 before the first measurement. `calibration` names the calibration `points` come
    from. `few_steps` is there if `methods` has "few-step". `flow_shift` is the static shift of the schedule,
    by which plans shape what routed runs spend; None: there is none, or it moves with the size. `loras` are
    what a request's `lora` may name.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
    family: str
    modality: str
    digest: str
    dtype: str
    shapes: ModelShapes
    sizes: SizeLimits | None = None
    frames: FrameLimits | None = None
    fps: float | None = None
    defaults: InputDefaults
    max_steps: int = 1_000
    max_samples: int = 16
    methods: tuple[str, ...] = ("steps",)
    input_fields: tuple[str, ...]
    required_fields: tuple[str, ...] = ()
    embedded_guidance: bool = False
    solver: str = "euler"
    calibration: str | None = None
    points: tuple[CalibrationPoint, ...] = ()
    tflops_per_second: float = 0.0
    created: int = 0
    always_guided: bool = False
    few_steps: FewSteps | None = Field(default=None, exclude_if=_absent)
    flow_shift: float | None = None
    loras: tuple[LoraName, ...] = Field(default=(), exclude_if=_absent)
    lengths: LengthLimits | None = Field(default=None, exclude_if=_absent)
    vocabulary: Vocabulary | None = Field(default=None, exclude_if=_absent)

    @property
    def takes_prompt(self) -> bool:
        """Pictures and clips are made of a prompt, sequences of what is given."""
        return self.lengths is None

    def offered(self, lora: str | None) -> CatalogEntry:
        """The entry as a request meets it: what was measured or distilled without a LoRA is not for one."""
        if lora is None:
            return self
        methods = tuple(name for name in self.methods if name not in VARIANTS)
        return self.model_copy(
            update={"methods": methods, "points": (), "calibration": None, "few_steps": None}
        )

    @property
    def calibrated_budgets(self) -> tuple[float, ...]:
        """Shares of full compute that some method was calibrated at, rounded to two decimals, rising."""
        return tuple(sorted({round(point.budget, 2) for point in self.points}))

    def nearest_budget(self, share: float) -> float:
        """The calibrated budget nearest to a share; where nothing is calibrated, of `STANDARD_BUDGETS`."""
        known = self.calibrated_budgets or STANDARD_BUDGETS
        return min(known, key=lambda budget: abs(budget - share))
