"""`rheostat train RECIPE`: stages that each go on from where they stopped. `flux-tiny` is here:

sprites -> judge-main, judge-cross -> autoencoder -> gate -> pool -> transformer -> export

Every stage leaves its result in the cache folder; a stage whose result is there is passed by. What the
repository carries (sprites, readers, the pipeline) is written to its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from workers.training import emoji, ranks
from workers.training.architecture import build_autoencoder
from workers.training.autoencoder import AutoencoderTrainee, reconstruct
from workers.training.evaluation import object_score
from workers.training.judge import READERS, Reader, weights_path
from workers.training.judge_training import JudgeTrainee
from workers.training.objects import STYLES
from workers.training.pipeline_folder import TextToLatent, build_tokenizers, write_pipeline
from workers.training.pool import build_pool, load_pool
from workers.training.resumable import Checkpoints, Deadline, run
from workers.training.scenes import sample_scenes
from workers.training.settings import FluxTinySettings, Settings
from workers.training.sprites import atlas_path

DEFAULT_CACHE = Path.home() / ".cache" / "rheostat"
DEFAULT_OUT = Path(__file__).parents[2] / "checkpoints"
SERVED_AS = {
    "defaults": {"width": 64, "height": 64, "num_inference_steps": 28},
    "sizes": {"min_side": 32, "max_side": 128, "max_pixels": 16_384},
}
"""What a server offers: 64 x 64 is what the weights are trained for, other sizes run all the same."""

_RECIPES = {
    "flux-tiny": ("workers.training.recipes", "FluxTinyRecipe"),
    "wan-tiny": ("workers.training.video.recipe", "WanTinyRecipe"),
    "wan-tiny-few": ("workers.training.video.few_steps_recipe", "WanTinyFewRecipe"),
    "jlt": ("workers.training.jlt.recipe", "JltRecipe"),
    "pare": ("workers.training.pare.recipe", "PareRecipe"),
    "text-tiny": ("workers.training.discrete.text_recipe", "TextTinyRecipe"),
    "chorale-tiny": ("workers.training.discrete.chorale_recipe", "ChoraleTinyRecipe"),
}
"""Name -> module and dataclass, made of (cache, out, deadline, settings=its defaults, options of its own)."""


class Recipe(Protocol):
    """Named stages over one cache folder."""

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""


class GateError(RuntimeError):
    """A stage's result is not good enough for the next stage."""


@dataclass(frozen=True)
class FluxTinyRecipe:
    """The stages of `flux-tiny` over one cache folder."""

    cache: Path
    out: Path
    deadline: Deadline
    settings: FluxTinySettings = field(default_factory=FluxTinySettings)

    @property
    def work(self) -> Path:
        """The folder of this recipe's states."""
        return self.cache / "flux-tiny"

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""
        readers = {f"judge-{reader}": partial(self.judge, reader) for reader in READERS}
        return {
            "sprites": self.sprites,
            **readers,
            "autoencoder": self.autoencoder,
            "gate": self.gate,
            "pool": self.pool,
            "transformer": self.transformer,
            "export": self.export,
        }

    def sprites(self) -> bool:
        """Cut the sprite atlases, unless the clone has them."""
        for style in STYLES:
            if not atlas_path(style).exists():
                emoji.build_atlas(style, self.cache / "npm")
        return True

    def judge(self, reader: Reader) -> bool:
        """Train a reader and write its weights in half precision."""
        checkpoints = Checkpoints(self.work, f"judge-{reader}")
        trainee = JudgeTrainee(self.settings.judge, reader, self.settings.seed)
        if not run(trainee, checkpoints, self.deadline):
            return False
        halves = {name: value.half().contiguous() for name, value in trainee.network.state_dict().items()}
        weights_path(reader).parent.mkdir(parents=True, exist_ok=True)
        save_file(halves, weights_path(reader))
        weights_path(reader).chmod(0o644)
        return True

    def autoencoder(self) -> bool:
        """Train the autoencoder."""
        trainee = AutoencoderTrainee(self.settings.autoencoder, self.settings.seed)
        return run(trainee, Checkpoints(self.work, "autoencoder"), self.deadline)

    def gate(self) -> bool:
        """Refuse to go on unless the reader reads bf16 reconstructions nearly as well as real scenes.

        Raises:
            GateError: it does not.
        """
        scenes = sample_scenes(self.settings.gate_scenes, 0, "calibration")
        images = [scene.image for scene in scenes]
        rebuilt = reconstruct(self.trained_autoencoder().bfloat16(), images)
        wanted = [scene.attributes for scene in scenes]
        real, again = object_score(images, wanted), object_score(rebuilt, wanted)
        report = {"scenes": len(scenes), "real": real, "reconstructed": again, "share": again / real}
        (self.work / "gate.json").write_text(json.dumps(report, indent=2))
        print("gate", report, flush=True)
        if again < self.settings.gate_share * real:
            raise GateError(f"{again:.3f} of the reconstructions are read right, {real:.3f} of real scenes")
        return True

    def pool(self) -> bool:
        """Encode the training scenes once."""
        if not self.pool_path.exists():
            build_pool(self.trained_autoencoder(), self.settings.pool, self.pool_path)
        return True

    def transformer(self) -> bool:
        """Train the denoiser and its text encoders, one process a rank."""
        return ranks.train_transformer(self.settings, self.work, self.deadline)

    def export(self) -> bool:
        """Write the averaged weights of the newest checkpoint as a pipeline folder, settings beside them.

        May be called while the transformer is in training.
        """
        settings, tokenizers = self.settings, build_tokenizers()
        checkpoints = Checkpoints(self.work, "transformer", ranks=settings.transformer.ranks)
        step = checkpoints.latest()
        model = TextToLatent(*tokenizers)
        model.load_state_dict(checkpoints.load(step)["average"])
        pool = load_pool(self.pool_path, *tokenizers)
        autoencoder = self.trained_autoencoder()
        autoencoder.register_to_config(scaling_factor=pool.scaling, shift_factor=pool.shift)
        record = {"recipe": "flux-tiny", "step": step, "settings": settings.model_dump()}
        records = {"training.json": record, "rheostat.json": SERVED_AS}
        write_pipeline(model, autoencoder, self.out / "flux-tiny", records)
        return True

    @property
    def pool_path(self) -> Path:
        """Where the encoded scenes are."""
        return self.work / "pool.npy"

    def trained_autoencoder(self) -> AutoencoderKL:
        """The autoencoder of the last checkpoint, float32."""
        checkpoints = Checkpoints(self.work, "autoencoder")
        autoencoder = build_autoencoder()
        autoencoder.load_state_dict(checkpoints.load(checkpoints.latest())["network"])
        return autoencoder.eval().requires_grad_(False)


def train(
    name: str,
    *,
    out: Path | None = None,
    cache: Path | None = None,
    until: str | None = None,
    max_minutes: float | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> bool:
    """Run a recipe's stages in order, each from where it stopped.

    Args:
        name: "flux-tiny", "wan-tiny", "wan-tiny-few", "jlt", "pare", "text-tiny" or "chorale-tiny".
        out: where the checkpoint folder goes; `checkpoints/` of the clone if not said.
        cache: fetched packages, encoded scenes and training states; `~/.cache/rheostat` if not said.
        until: the last stage to run; None runs all.
        max_minutes: stop, resumably, after so many minutes.
        settings: other numbers than the recorded ones.
        options: of the recipe alone; for "pare": `teacher` (a model's name or folder) and `data`.

    Returns:
        True when all the stages asked for are done.

    Raises:
        ValueError: no such recipe, option or stage.
    """
    if name not in _RECIPES:
        raise ValueError(f"no recipe {name!r}; there is: {', '.join(_RECIPES)}")
    torch.set_num_threads(1)
    kind = getattr(import_module(_RECIPES[name][0]), _RECIPES[name][1])
    if unknown := set(options) - {each.name for each in fields(kind)}:
        raise ValueError(f"{name} takes no {', '.join(sorted(unknown))}")
    given = options if settings is None else {"settings": settings, **options}
    folders = (cache or DEFAULT_CACHE, out or DEFAULT_OUT)
    recipe: Recipe = kind(*folders, Deadline(max_minutes), **given)
    stages = recipe.stages()
    if until is not None and until not in stages:
        raise ValueError(f"no stage {until!r}; there are: {', '.join(stages)}")
    for stage, work in stages.items():
        print("stage", stage, flush=True)
        if not work():
            return False
        if stage == until:
            break
    return True
