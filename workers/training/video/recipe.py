"""`rheostat train wan-tiny`: stages that each go on from where they stopped.

judge -> autoencoder -> gate -> pool -> transformer -> export -> evaluation

Every stage leaves its result in the cache folder; a stage whose result is there is passed by. What the
repository carries (the reader, the pipeline) is written to its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanPipeline
from safetensors.torch import save_file

from workers.training.clips import ClipAttributes, Frames, sample_clips, unique_clips
from workers.training.ranks import train_in_ranks, transformer_checkpoints
from workers.training.recipes import GateError
from workers.training.resumable import Checkpoints, Deadline, Trainee, run, step_seed
from workers.training.video.architecture import build_autoencoder
from workers.training.video.autoencoder import WanAutoencoderTrainee, reconstruct
from workers.training.video.evaluation import figures, generate_in_parts, parts_folder
from workers.training.video.judge import READER_FILE, ClipReader, load_clip_reader
from workers.training.video.judge_training import ClipReaderTrainee
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer, rounded, write_pipeline
from workers.training.video.pool import build_pool, load_pool, tokenise
from workers.training.video.settings import WanTinySettings
from workers.training.video.wan_tiny import WanTinyTrainee

SERVED_AS = {
    "defaults": {
        "width": 32,
        "height": 32,
        "num_frames": 9,
        "num_inference_steps": 30,
        "guidance_scale": 1.0,
    },
    "sizes": {"min_side": 32, "max_side": 64, "max_pixels": 4096},
    "frames": {"max_frames": 17, "fps": 8},
}
"""What a server offers: 9 frames of 32 x 32 is what the weights are trained for."""
_GATED = ("object", "direction", "colour")


@dataclass(frozen=True)
class WanTinyRecipe:
    """The stages of `wan-tiny` over one cache folder."""

    cache: Path
    out: Path
    deadline: Deadline
    settings: WanTinySettings = field(default_factory=WanTinySettings)

    @property
    def work(self) -> Path:
        """The folder of this recipe's states."""
        return self.cache / "wan-tiny"

    @property
    def folder(self) -> Path:
        """Where the pipeline goes."""
        return self.out / "wan-tiny"

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""
        return {
            "judge": self.judge,
            "autoencoder": self.autoencoder,
            "gate": self.gate,
            "pool": self.pool,
            "transformer": self.transformer,
            "export": self.export,
            "evaluation": self.evaluation,
        }

    def judge(self) -> bool:
        """Train the object reader and write its weights in half precision."""
        trainee = ClipReaderTrainee(self.settings.judge, self.settings.seed)
        if not run(trainee, Checkpoints(self.work, "judge"), self.deadline):
            return False
        halves = {name: value.half().contiguous() for name, value in trainee.network.state_dict().items()}
        self.reader_path.parent.mkdir(parents=True, exist_ok=True)
        save_file(halves, self.reader_path)
        self.reader_path.chmod(0o644)
        return True

    def autoencoder(self) -> bool:
        """Train the autoencoder, one process a rank."""
        num_steps = self.settings.autoencoder.num_steps
        states = self._autoencoder_states()
        return train_in_ranks(wan_autoencoder, self.settings, states, num_steps, self.deadline)

    def gate(self) -> bool:
        """Refuse to go on unless clips are read nearly as well after the rounded autoencoder as before.

        Not asked again once latents are in use.

        Raises:
            GateError: they are not.
        """
        if self.pool_path.exists():
            return True
        clips = sample_clips(self.settings.gate_clips, 0, "calibration")
        frames, wanted = [clip.frames for clip in clips], [clip.attributes for clip in clips]
        rebuilt = reconstruct(rounded(self.trained_autoencoder()).float(), frames)
        real, again = (figures(each, wanted, self.reader()) for each in (frames, rebuilt))
        self._record("gate", {"clips": len(clips), "real": real, "reconstructed": again})
        short = [name for name in _GATED if again[name] < self.settings.gate_share * real[name]]
        if short:
            raise GateError(f"reconstructions are read worse than real clips: {', '.join(short)}")
        return True

    def pool(self) -> bool:
        """Encode the training clips once."""
        if self.pool_path.exists():
            return True
        return build_pool(self.trained_autoencoder(), self.settings.pool, self.pool_path, self.deadline)

    def transformer(self) -> bool:
        """Train the denoiser and its text encoder, one process a rank."""
        settings = self.settings.transformer
        checkpoints = transformer_checkpoints(settings, self.work)
        return train_in_ranks(wan_transformer, self.settings, checkpoints, settings.num_steps, self.deadline)

    def export(self) -> bool:
        """Write the averaged weights of the newest checkpoint as a pipeline folder, settings beside them.

        May be called while the transformer is in training.
        """
        tokenizer = build_tokenizer()
        checkpoints = transformer_checkpoints(self.settings.transformer, self.work)
        step = checkpoints.latest()
        model = TextToVideo(tokenizer)
        model.load_state_dict(checkpoints.load(step)["average"])
        pool = load_pool(self.pool_path, tokenizer)
        autoencoder = self.trained_autoencoder()
        autoencoder.register_to_config(latents_mean=pool.mean, latents_std=pool.deviation)
        record = {"recipe": "wan-tiny", "step": step, "settings": self.settings.model_dump()}
        write_pipeline(model, autoencoder, self.folder, {"training.json": record, "rheostat.json": SERVED_AS})
        return True

    def evaluation(self) -> bool:
        """Measure real, rebuilt and generated clips of unique held-out captions, into `evaluation.json`.

        The weights are the folder's, bf16, computed with in float32.
        """
        settings = self.settings.evaluation
        clips = unique_clips(settings.num_clips, settings.seed, "heldout")
        pipeline = WanPipeline.from_pretrained(self.folder, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        captions = [clip.caption for clip in clips]
        made = parts_folder(self.work, self.folder, settings)
        generated = generate_in_parts(pipeline, captions, made, settings, self.deadline)
        if generated is None:
            return False
        real, wanted = [clip.frames for clip in clips], [clip.attributes for clip in clips]
        arms = {"real": real, "reconstructed": reconstruct(pipeline.vae, real), "generated": generated}
        self._record("evaluation", self._report(arms, wanted))
        return True

    def _report(self, arms: dict[str, list[Frames]], wanted: list[ClipAttributes]) -> dict[str, Any]:
        report: dict[str, Any] = {"step": self._trained_step(), **self.settings.evaluation.model_dump()}
        return report | {name: figures(clips, wanted, self.reader()) for name, clips in arms.items()}

    def _trained_step(self) -> int:
        """The step of the exported weights."""
        return int(json.loads((self.folder / "training.json").read_text())["step"])

    def _record(self, name: str, report: dict[str, Any]) -> None:
        (self.work / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
        print(name, report, flush=True)

    @property
    def reader_path(self) -> Path:
        """Where the reader's weights go."""
        return self.out / "judges" / READER_FILE

    def reader(self) -> ClipReader:
        """The reader this recipe trained."""
        return load_clip_reader(self.reader_path)

    @property
    def pool_path(self) -> Path:
        """Where the encoded clips are."""
        return self.work / "pool.npy"

    def _autoencoder_states(self) -> Checkpoints:
        return Checkpoints(self.work, "autoencoder", ranks=self.settings.ranks)

    def trained_autoencoder(self) -> AutoencoderKLWan:
        """The autoencoder of the last checkpoint, float32, not whitened."""
        checkpoints = self._autoencoder_states()
        autoencoder = build_autoencoder()
        autoencoder.load_state_dict(checkpoints.load(checkpoints.latest())["network"])
        return autoencoder.eval().requires_grad_(False)


def wan_autoencoder(settings: WanTinySettings, work: Path, rank: int) -> Trainee:
    """A rank of the autoencoder stage."""
    return WanAutoencoderTrainee(settings.autoencoder, settings.seed, rank, settings.ranks)


def wan_transformer(settings: WanTinySettings, work: Path, rank: int) -> Trainee:
    """A rank of the transformer stage."""
    tokenizer = build_tokenizer()
    torch.manual_seed(step_seed("wan-tiny-weights", settings.seed))
    model = TextToVideo(tokenizer)
    if settings.transformer.compiled:
        model.transformer.compile_repeated_blocks(fullgraph=True)
    pool, empty = load_pool(work / "pool.npy", tokenizer), tokenise([""], tokenizer)
    return WanTinyTrainee(settings.transformer, settings.seed, model, pool, empty, rank=rank)
