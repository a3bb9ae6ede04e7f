"""Every number of the `jlt` recipe: frozen, refused when unknown, written beside the results.

What it costs, reckoned from processor time with one thread a process (AMD EPYC, AVX-512 without bf16 units,
measured while other work shared its cache): a step of 32 rows takes .36 s, so 3,600 steps 22 minutes; the
network 3.6 ms a row and evaluation and the decoder 12 ms a picture, so 512 pictures of 23 evaluations in two
lanes 91 s, in one 49 s, and all that is drawn of a run 7 minutes. Ten runs of 29 minutes, two at a time, are
145; the pool takes 2 before. An idle machine is faster.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from workers.core import Prediction
from workers.training.scenes import Kind
from workers.training.settings import Settings, TransformerSettings

Latents = Literal["plain", "whitened"]


class NetworkSettings(Settings):
    """A FLUX transformer of .99 M parameters: 96 wide over tokens of 32 channels."""

    num_layers: int = 1
    num_single_layers: int = 4
    num_attention_heads: int = 3


class LatentPoolSettings(Settings):
    """Training scenes, encoded once by the frozen autoencoder and the frozen text encoders of `flux-tiny`.

    Attributes:
        kinds: of scenes; others are neither learned nor asked for.
        seed: of the scenes alone.
    """

    num_scenes: int = 20_480
    kinds: tuple[Kind, ...] = ("single",)
    seed: int = 11
    batch: int = 64


class JltTrainingSettings(TransformerSettings):
    """One run; fields as for `flux-tiny`, in float32, with nothing guided in the target.

    Attributes:
        clamp: the least denominator in the loss of x0, of target and prediction alike.
        level_mean, level_spread: 1 - sigma is the sigmoid of a normal number of these.
    """

    num_steps: int = 3600
    warmup_steps: int = 200
    decay_steps: int = 900
    guided_steps: int = 0
    batch: int = 32
    ranks: int = 1
    muon_rate: float = 3e-3
    adam_rate: float = 1e-3
    compiled: bool = False
    milestones: tuple[int, ...] = (900, 1800, 3600)
    clamp: float = 0.05
    level_mean: float = -0.8
    level_spread: float = 0.8

    @model_validator(mode="after")
    def _plain(self) -> Self:
        if self.guided_steps or self.ranks != 1 or self.compiled:
            raise ValueError("a run has one rank, no guided_steps, and is not compiled")
        return self


class SamplingSettings(Settings):
    """What is drawn from the averaged weights of every milestone, for unique held-out captions.

    Attributes:
        num_steps: Heun's, the last one Euler's, even in sigma: 2 N - 1 evaluations.
        guidance: weight at every milestone.
        sweep: further weights at the last one, so that each target may be judged at its own best.
        guided_from: share of data, 1 - sigma, at or below which nothing is guided.
        clamp: as in training; matters where the last step is shorter. 0 lands on x0.
    """

    num_images: int = 512
    num_steps: int = 12
    guidance: float = 2.0
    sweep: tuple[float, ...] = (1.0, 3.0)
    guided_from: float = 0.1
    clamp: float = 0.05
    seed: int = 0
    batch: int = 64


class Arm(Settings):
    """One run of the experiment.

    Attributes:
        skip: with a free way around the network.
        centred: noise levels of mean 0 and spread 1, as the authors' only script for velocities has them.
    """

    target: Prediction
    seed: int
    latents: Latents = "plain"
    skip: bool = False
    centred: bool = False

    @property
    def name(self) -> str:
        """Of its folder."""
        marks = {self.latents: self.latents != "plain", "skip": self.skip, "centred": self.centred}
        return "-".join((self.target, *(mark for mark, so in marks.items() if so), str(self.seed)))


class JltSettings(Settings):
    """The whole recipe.

    Attributes:
        seeds: of the matched pairs; the first is the controls' too.
        processes: runs at once, a thread each.
        centred: one velocity run more, on centred levels; another 29 minutes.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    processes: int = 2
    centred: bool = False
    network: NetworkSettings = NetworkSettings()
    pool: LatentPoolSettings = LatentPoolSettings()
    training: JltTrainingSettings = JltTrainingSettings()
    sampling: SamplingSettings = SamplingSettings()

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Pairs side by side, so that two processes are always at both targets of one pair."""
        first, targets = self.seeds[0], (Prediction.X0, Prediction.FLOW)
        return (
            *(Arm(target=target, seed=seed) for seed in self.seeds for target in targets),
            *(Arm(target=target, seed=first, latents="whitened") for target in targets),
            *(Arm(target=target, seed=first, skip=True) for target in targets),
            *((Arm(target=Prediction.FLOW, seed=first, centred=True),) if self.centred else ()),
        )
