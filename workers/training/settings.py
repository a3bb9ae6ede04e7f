"""Every number of the `flux-tiny` recipe: frozen, refused when unknown, written beside the checkpoint."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JudgeSettings(Settings):
    """The readers: AdamW, one cycle (10 % rising, then cosine to zero)."""

    num_steps: int = 3000
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02


class AutoencoderSettings(Settings):
    """The autoencoder: AdamW, one cycle; `kl_weight` buys latents that forgive small errors."""

    num_steps: int = 6000
    batch: int = 8
    learning_rate: float = 1.5e-3
    kl_weight: float = 1e-3
    edge_weight: float = 0.5


class PoolSettings(Settings):
    """The scenes whose latents are encoded once; `seed` is the generator's alone."""

    num_scenes: int = 61440
    seed: int = 1
    batch: int = 64


class DenoiserSettings(Settings):
    """What is common to all denoisers in training.

    Attributes:
        num_steps: optimiser steps in all; raise it to go on from the plateau checkpoint.
        decay_steps: the last steps, on which the rates fall linearly to zero.
        batch: rows of all ranks together.
        ranks: processes of one thread each; gradients are averaged over them.
        muon_rate, adam_rate: for the blocks' matrices, and for everything else.
        milestones: steps whose states are kept for good, to look at how something came about.
    """

    num_steps: int = 4800
    warmup_steps: int = 200
    decay_steps: int = 800
    batch: int = 64
    ranks: int = 2
    muon_rate: float = 3e-3
    adam_rate: float = 1e-3
    ema_decay: float = 0.999
    milestones: tuple[int, ...] = ()

    @property
    def plateau(self) -> int:
        """The step after which nothing more can be added without going back to it."""
        return self.num_steps - self.decay_steps


class TransformerSettings(DenoiserSettings):
    """A denoiser of pictures or clips and its text encoders, trained jointly.

    Attributes:
        guided_steps: the last steps, on which guidance is baked into the target (see `flux_tiny.py`).
        guidance: w of the baked-in guidance; the sampler then acts like a guidance scale of 1 / (1 - w).
        caption_dropout: share of rows that see the empty caption.
    """

    guided_steps: int = 700
    guidance: float = 0.5
    caption_dropout: float = 0.1
    compiled: bool = True

    @property
    def plateau(self) -> int:
        """Likewise; guidance cannot be taken out again either."""
        return self.num_steps - max(self.decay_steps, self.guided_steps)


class FluxTinySettings(Settings):
    """The whole recipe."""

    seed: int = 0
    gate_scenes: int = 1000
    gate_share: float = 0.97
    judge: JudgeSettings = JudgeSettings()
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    pool: PoolSettings = PoolSettings()
    transformer: TransformerSettings = TransformerSettings()
