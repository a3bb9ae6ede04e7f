"""Every number of the `text-tiny` and `chorale-tiny` recipes: frozen, refused when unknown."""

from __future__ import annotations

from typing import Literal

from workers.training.settings import DenoiserSettings, JudgeSettings, Settings


class SeddSettings(DenoiserSettings):
    """A discrete denoiser, its shape and its loss.

    Attributes:
        positions, parameterization: see `workers.models.sedd_modules.SeddConfig`.
        loss: "cross_entropy" of the clean token or "score_entropy" (Lou et al. 2024, equation 5 weighted by
            the rate of the noise, a bound on the likelihood).
        noise_eps: of the log-linear noise: the share of tokens kept at its end.
        given_share: of rows in which a part is left clean and not learned from, as in a conditional run.
    """

    hidden_size: int = 128
    cond_dim: int = 128
    n_blocks: int = 6
    n_heads: int = 4
    dropout: float = 0.0
    positions: bool = False
    parameterization: Literal["score", "leave_one_out"] = "leave_one_out"
    loss: Literal["cross_entropy", "score_entropy"] = "cross_entropy"
    noise_eps: float = 1e-3
    given_share: float = 0.2
    decay_steps: int = 1400
    ema_decay: float = 0.9995


class TextSettings(SeddSettings):
    """`text-tiny`'s denoiser."""

    num_steps: int = 7000


class ChoraleSettings(SeddSettings):
    """`chorale-tiny`'s denoiser: little data, so dropout; voices and bars have places of their own."""

    num_steps: int = 3000
    decay_steps: int = 800
    batch: int = 32
    dropout: float = 0.1
    positions: bool = True
    given_share: float = 0.3


class LanguageJudgeSettings(JudgeSettings):
    """The reader of texts: AdamW, one cycle."""

    num_steps: int = 2000
    learning_rate: float = 4e-3


class SampleSettings(Settings):
    """What is measured after training.

    Attributes:
        num_samples: generated, and as many real ones beside them.
        evaluations: of the network a sample, Euler's steps and the last, denoising one.
        draws: of the bootstrap.
    """

    num_samples: int = 1000
    evaluations: int = 256
    seed: int = 0
    batch: int = 50
    draws: int = 200


class TextTinySettings(Settings):
    """The whole recipe of `text-tiny`."""

    seed: int = 0
    judge: LanguageJudgeSettings = LanguageJudgeSettings()
    transformer: TextSettings = TextSettings()
    evaluation: SampleSettings = SampleSettings()


class ChoraleTinySettings(Settings):
    """The whole recipe of `chorale-tiny`."""

    seed: int = 0
    transformer: ChoraleSettings = ChoraleSettings()
    evaluation: SampleSettings = SampleSettings(batch=25)
