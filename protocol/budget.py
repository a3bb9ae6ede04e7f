"""The dial: how much compute a request may spend, as the caller writes it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protocol.text import CleanText

Fraction = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]


class ComputeBudget(BaseModel):
    """A ceiling on compute, as a share of full compute or in TFLOPs for the whole job.

    `fraction` and `tflops` exclude each other; with neither, the run is unabridged. `floor` lets the server
    grant less under load, never below it. `methods` names what the planner may use; None leaves the choice to
    it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    fraction: Fraction | None = None
    floor: Fraction | None = None
    mode: Literal["soft", "hard"] = "soft"
    tflops: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    methods: Annotated[tuple[CleanText, ...], Field(strict=False, max_length=16)] | None = None

    @model_validator(mode="after")
    def _one_ceiling(self) -> Self:
        if self.fraction is not None and self.tflops is not None:
            raise ValueError("give either fraction or tflops, not both")
        if self.floor is not None and self.fraction is not None and self.floor > self.fraction:
            raise ValueError(f"floor must not be above fraction ({self.fraction})")
        return self

    def share_of(self, full_mflop: float) -> float:
        """The ceiling as a share of `full_mflop`, at most 1."""
        if self.tflops is not None:
            return min(1.0, self.tflops * 1e6 / full_mflop)
        return 1.0 if self.fraction is None else self.fraction
