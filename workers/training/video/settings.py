"""Every number of the `wan-tiny` recipe: frozen, refused when unknown, written beside the checkpoint."""

from __future__ import annotations

from workers.training.settings import JudgeSettings, PoolSettings, Settings, TransformerSettings


class ClipReaderSettings(JudgeSettings):
    """The object reader: AdamW, one cycle; `batch` crops a step."""

    num_steps: int = 1000


class WanAutoencoderSettings(Settings):
    """The autoencoder: AdamW, one cycle over frames and then clips.

    Attributes:
        frame_steps: the first steps, on single frames: shapes and colours are learned at a ninth of the cost.
        frame_batch: frames a step, of all ranks together.
        clip_steps: the steps after them, on whole clips.
        clip_batch: clips a step, of all ranks together.
        kl_weight: buys latents that forgive small errors.
        object_weight: how much more than the background's an object's pixels count.
        edge_weight, change_weight: of the error of differences in space, and in time (against flicker).
    """

    frame_steps: int = 2000
    frame_batch: int = 32
    clip_steps: int = 2500
    clip_batch: int = 8
    learning_rate: float = 1.5e-3
    kl_weight: float = 1e-3
    object_weight: float = 10.0
    edge_weight: float = 0.5
    change_weight: float = 0.5

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        return self.frame_steps + self.clip_steps


class ClipPoolSettings(PoolSettings):
    """The clips whose latents are encoded once."""

    num_scenes: int = 40960
    batch: int = 16


class WanTransformerSettings(TransformerSettings):
    """The denoiser and its text encoder, trained jointly in float32; fields as for `flux-tiny`."""

    num_steps: int = 10000
    decay_steps: int = 2000
    guided_steps: int = 1500
    batch: int = 32
    compiled: bool = False
    milestones: tuple[int, ...] = (500, 1000, 2000, 4000, 6000)


class HalvingSettings(TransformerSettings):
    """One halving of the student's steps, in float32; fields as for `flux-tiny`.

    Nothing is guided here: the guidance is the teacher's. The rates fall over the whole stage, so the average
    need not reach back far.
    """

    num_steps: int = 1300
    warmup_steps: int = 50
    decay_steps: int = 1250
    guided_steps: int = 0
    batch: int = 32
    muon_rate: float = 1e-3
    adam_rate: float = 3e-4
    ema_decay: float = 0.99
    compiled: bool = False


class EvaluationSettings(Settings):
    """Unique held-out captions, made with diffusers' pipeline as it is served."""

    num_clips: int = 1000
    num_inference_steps: int = 30
    seed: int = 0
    batch: int = 20


class WanTinySettings(Settings):
    """The whole recipe.

    Attributes:
        gate_clips: calibration clips that are encoded and decoded before the latents are used.
        gate_share: of what is read right in real clips, to be read right in the decoded ones.
        ranks: processes of one thread for the autoencoder; the transformer has its own number.
    """

    seed: int = 0
    gate_clips: int = 500
    gate_share: float = 0.97
    ranks: int = 2
    judge: ClipReaderSettings = ClipReaderSettings()
    autoencoder: WanAutoencoderSettings = WanAutoencoderSettings()
    pool: ClipPoolSettings = ClipPoolSettings()
    transformer: WanTransformerSettings = WanTransformerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


class WanTinyFewSettings(Settings):
    """The recipe of a student of few steps.

    Attributes:
        teacher_steps: Euler steps of the teacher's run that the first halving takes two at a time.
        halvings: 3 make 4 steps of 32.
    """

    seed: int = 0
    teacher_steps: int = 32
    halvings: int = 3
    halving: HalvingSettings = HalvingSettings()
    pool: ClipPoolSettings = ClipPoolSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @property
    def stages(self) -> tuple[int, ...]:
        """Steps after each halving, falling."""
        return tuple(self.teacher_steps >> done for done in range(1, self.halvings + 1))
