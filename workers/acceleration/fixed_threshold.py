"""SoftCap with its controller off: the same cues, guards and forecasts against one threshold.

The paper's own ablation, and the policy whose spending over time becomes the reference curve.
"""

from __future__ import annotations

from pydantic import Field

from workers.acceleration.softcap_paper import SoftCapPaper, SoftCapPaperConfig


class FixedThresholdConfig(SoftCapPaperConfig):
    """As `SoftCapPaperConfig`, but the threshold is `tau_0` throughout: the gains can only be 0."""

    k_p: float = Field(0.0, ge=0.0, le=0.0)
    k_i: float = Field(0.0, ge=0.0, le=0.0)


class FixedThreshold(SoftCapPaper):
    """A full evaluation where the risk reaches `tau_0`; reads SoftCap's own calibration table."""

    config_type = FixedThresholdConfig
