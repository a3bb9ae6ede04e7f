"""The Wan 2.1 family: any text-to-video WanPipeline folder, the PARE students made from one, and what
`wan_image` shares with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import WanPipeline
from torch import Tensor

from protocol.calibration import Calibration
from protocol.catalog import CatalogEntry, FewSteps, FrameLimits, InputDefaults, SizeLimits
from protocol.methods import CACHES, DROPS, FEW_STEP, FEWER_STEPS, ROUTERS
from protocol.shapes import MAX_TEXT_TOKENS, WanShapes
from workers.core import Condition, Grid
from workers.models.declaration import declared
from workers.models.folder import FolderSettings, digest_of, newest_change, served_digest
from workers.models.loras import Loras
from workers.models.model import Frames
from workers.models.options import PLAIN, LoadOptions
from workers.models.pare import Pare, load_router, load_student
from workers.models.placing import place, prepare
from workers.models.wan_few_steps import load_few_steps, read_few_steps
from workers.models.wan_network import WanNetwork

_MIN_TOKENS_PER_SIDE = 4
"""Fewer than four tokens in all would take a matrix product's small path."""
_PIPELINE_MULTIPLE = 16
"""WanPipeline takes no other sides, whatever its autoencoder could do."""
_MAX_SIDE, _MAX_PIXELS = 1_280, 1_280 * 720
_MAX_LATENT_FRAMES = 41
_DEFAULT_LATENTS = (104, 60, 21)
"""Width, height and frames of WanPipeline's default, 832 x 480 x 81 pixels, in the autoencoder's cells."""
_FPS = 16.0
_STEPS, _GUIDANCE_SCALE = 50, 5.0
_FIELDS = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "num_frames",
    "num_inference_steps",
    "guidance_scale",
    "seed",
    "n",
)
_SOLVERS = {"FlowMatchEulerDiscreteScheduler": "euler", "UniPCMultistepScheduler": "unipc"}


class Wan:
    """A loaded WanPipeline; of a PARE student, `pipeline` is diffusers' own around the pruned transformer.

    A subclass may load a pipeline that takes more.

    Args:
        name: in the catalog.
        folder: of the checkpoint.
        device, dtype: of all modules.
        options: how it is loaded.

    Raises:
        ValueError: a pipeline of another kind (Wan 2.2, image to video), or configs that disagree, that of a
            student of few steps among them.
    """

    family = "wan"
    pipeline_class: ClassVar[Any] = WanPipeline
    required_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        options: LoadOptions = PLAIN,
    ) -> None:
        options.check(FolderSettings.read(folder).loras)
        pare = Pare.read(folder)
        pruned = {} if pare is None else {"transformer": load_student(folder, pare, dtype)}
        loaded = self.pipeline_class.from_pretrained(folder, dtype=dtype, local_files_only=True, **pruned)
        pipeline = place(loaded, device, options)
        pipeline.set_progress_bar_config(disable=True)
        self.name, self.device, self.dtype, self.exact = name, device, dtype, options.exact
        self.pipeline: Any = pipeline
        self._text_tokens = self._count_text_tokens()
        self._shapes = _shapes(folder, self._text_tokens, pare)
        self._refuse_other_kinds()
        self.base_digest = digest_of(folder)
        self.calibration = Calibration.read(folder, self.base_digest)
        few = read_few_steps(folder, self._shapes)
        router = None if pare is None else load_router(folder, pare)
        self.depth_router = None if router is None else router.to(device)
        self.catalog = self._describe(folder, served_digest(folder, self.base_digest, options.weights), few)
        self.network = WanNetwork(pipeline.transformer, self._shapes, options.mesh, declared(folder))
        self._loras = Loras(pipeline, folder, FolderSettings.read(folder).loras)
        prepare(pipeline.transformer, device, options)
        self.variants = {} if few is None else {FEW_STEP: load_few_steps(folder, few, device, dtype, options)}

    @property
    def latents_dtype(self) -> torch.dtype:
        """WanPipeline keeps its latents in float32 beside a network of any dtype."""
        return torch.float32

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """WanPipeline leaves the noise levels to its scheduler, as others do under `use_flow_sigmas` only."""
        return {**self.pipeline.scheduler.config, "use_flow_sigmas": True}

    def use_lora(self, name: str | None) -> None:
        self._loras.use(name)

    def grid(self, width: int, height: int, num_frames: int | None = None) -> Grid:
        _, rows, columns = self._shapes.transformer.patch_size
        frames, cells_high, cells_wide = self._shapes.latent_grid(width, height, num_frames)
        return Grid(cells_high // rows, cells_wide // columns, frames)

    def noise_shape(self, grid: Grid) -> tuple[int, ...]:
        _, rows, columns = self._shapes.transformer.patch_size
        channels = self._shapes.latent_channels
        return (1, channels, grid.num_frames, grid.height * rows, grid.width * columns)

    def pack(self, noise: Tensor) -> Tensor:
        return noise

    def encode(self, prompt: str, guidance_scale: float | None) -> Condition:
        """(prompt_embeds (1, T, D),); the empty prompt is the uncond of a request without a negative one."""
        # Of the pipelines' copies of this, WanPipeline's alone does without ftfy where there is none.
        prompt_embeds = WanPipeline._get_t5_prompt_embeds(
            self.pipeline, prompt, max_sequence_length=self._text_tokens, device=self.device
        )
        return Condition((prompt_embeds.to(self.pipeline.transformer.dtype),))

    def decode(self, latents: Tensor, grid: Grid) -> Frames:
        """All frames (F, H, W, 3), rounded as diffusers rounds pictures."""
        pipeline, vae = self.pipeline, self.pipeline.vae
        mean, deviation = (
            torch.tensor(numbers).view(1, -1, 1, 1, 1)
            for numbers in (vae.config.latents_mean, vae.config.latents_std)
        )
        latents = latents.to(vae.dtype)
        scaled = latents / (1.0 / deviation.to(latents)) + mean.to(latents)
        pixels = vae.decode(scaled, return_dict=False)[0]
        (frames,) = pipeline.video_processor.postprocess_video(pixels, output_type="np")
        rounded: Frames = (frames * 255).round().astype(np.uint8)
        return rounded

    def _describe(self, folder: Path, digest: str, few: FewSteps | None) -> CatalogEntry:
        settings = FolderSettings.read(folder)
        frames = FrameLimits(
            multiple=self._frame_multiple,
            max_frames=settings.frames.max_frames or self._pixel_frames(_MAX_LATENT_FRAMES),
        )
        return CatalogEntry(
            name=self.name,
            family=self.family,
            modality="video",
            digest=digest,
            dtype=str(self.dtype).removeprefix("torch."),
            shapes=self._shapes,
            sizes=settings.limit(self._sizes()),
            frames=frames,
            fps=settings.frames.fps or _FPS,
            defaults=settings.fill(self._defaults()),
            methods=(
                *FEWER_STEPS,
                *CACHES,
                *(DROPS if self.depth_router is None else ROUTERS),
                *((FEW_STEP,) if few else ()),
            ),
            input_fields=(*_FIELDS, *self.required_fields, *(("lora",) if settings.loras else ())),
            required_fields=self.required_fields,
            always_guided=True,
            solver=_solver(self.pipeline.scheduler.config),
            flow_shift=_flow_shift(self.pipeline.scheduler.config),
            calibration=self.calibration.id if self.calibration else None,
            points=self.calibration.points if self.calibration else (),
            created=newest_change(folder),
            loras=tuple(sorted(settings.loras)),
            few_steps=few,
        )

    def _sizes(self) -> SizeLimits:
        multiple = math.lcm(self._shapes.size_multiple, _PIPELINE_MULTIPLE)
        least = self._shapes.size_multiple * _MIN_TOKENS_PER_SIDE
        return SizeLimits(
            multiple=multiple, min_side=max(least, multiple), max_side=_MAX_SIDE, max_pixels=_MAX_PIXELS
        )

    def _defaults(self) -> InputDefaults:
        width, height, frames = _DEFAULT_LATENTS
        factor = self._shapes.spatial_factor
        return InputDefaults(
            width=factor * width,
            height=factor * height,
            num_frames=self._pixel_frames(frames),
            num_inference_steps=_STEPS,
            guidance_scale=_GUIDANCE_SCALE,
        )

    def _count_text_tokens(self) -> int:
        return int(min(self.pipeline.tokenizer.model_max_length, MAX_TEXT_TOKENS))

    @property
    def _frame_multiple(self) -> int:
        return self._shapes.autoencoder.temporal_factor

    def _refuse_other_kinds(self) -> None:
        for what, found in self._other_kinds().items():
            if found:
                raise ValueError(f"a {self.pipeline_class.__name__} with {what} is not supported")

    def _other_kinds(self) -> dict[str, object]:
        transformer = self._shapes.transformer
        image = transformer.image_dim or transformer.added_kv_proj_dim
        return {
            **unfaithful(self.pipeline, self._shapes),
            "image_dim or added_kv_proj_dim (image to video)": image,
        }

    def _pixel_frames(self, latent_frames: int) -> int:
        return 1 + (latent_frames - 1) * self._shapes.autoencoder.temporal_factor


def _shapes(folder: Path, text_tokens: int, pare: Pare | None) -> WanShapes:
    names = ("transformer", "text_encoder", "vae")
    configs = [_config(folder / name) for name in names]
    encoder = folder / "image_encoder"
    return WanShapes.from_configs(
        *configs,
        text_tokens=text_tokens,
        pare=None if pare is None else pare.shape,
        image_encoder=_config(encoder) if encoder.is_dir() else None,
    )


def _config(component: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((component / "config.json").read_text("utf-8"))
    return config


def _solver(config: Mapping[str, Any]) -> str:
    name = config["_class_name"]
    if name not in _SOLVERS:
        raise ValueError(f"scheduler {name} is not supported; known: {', '.join(_SOLVERS)}")
    return _SOLVERS[name]


def _flow_shift(config: Mapping[str, Any]) -> float:
    """Both schedulers' static shift, under the name each has for it."""
    name = "flow_shift" if _solver(config) == "unipc" else "shift"
    return float(config.get(name, 1.0))


def unfaithful(pipeline: Any, shapes: WanShapes) -> dict[str, object]:
    """What the pipelines also run, or would run otherwise than their configs say."""
    config, vae = pipeline.config, pipeline.vae.config
    factors = (shapes.spatial_factor, shapes.autoencoder.temporal_factor)
    return {
        "a second transformer (Wan 2.2)": pipeline.transformer_2 is not None or config.boundary_ratio,
        "expand_timesteps (Wan 2.2)": config.expand_timesteps,
        "patches of more than one frame": shapes.transformer.patch_size[0] != 1,
        "scale factors that are not its scales'": factors
        != (vae.scale_factor_spatial, vae.scale_factor_temporal),
        "use_dynamic_shifting": pipeline.scheduler.config.get("use_dynamic_shifting"),
    }
