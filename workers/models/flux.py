"""The FLUX family: any FluxPipeline folder, guidance-distilled or not."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline
from PIL.Image import Image
from torch import Tensor

from protocol.calibration import Calibration
from protocol.catalog import CatalogEntry, InputDefaults, SizeLimits
from protocol.methods import CACHES, FEWER_STEPS
from protocol.shapes import MAX_TEXT_TOKENS, FluxShapes
from workers.core import Condition, Grid
from workers.models.declaration import declared
from workers.models.flux_network import FluxNetwork
from workers.models.folder import (
    FEW_STEPS_FOLDER,
    FolderSettings,
    digest_of,
    newest_change,
    served_digest,
)
from workers.models.loras import Loras
from workers.models.model import Variant
from workers.models.options import PLAIN, LoadOptions
from workers.models.placing import place, prepare

_PATCH = 2
_MIN_TOKENS_PER_SIDE = 4
"""Fewer than four tokens in all would take a matrix product's small path."""
_DEFAULT_LATENT_SIDE = 128
_MAX_SIDE = 2_048
_GUIDANCE_SCALE = 3.5


class Flux:
    """A loaded FluxPipeline.

    Args:
        name: in the catalog.
        folder: of the checkpoint.
        device, dtype: of all modules.
        options: how it is loaded.
    """

    family = "flux"
    depth_router = None

    def __init__(
        self,
        name: str,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        options: LoadOptions = PLAIN,
    ) -> None:
        # It would write what a long prompt loses into our log, and prompts are their writers'.
        logging.getLogger(FluxPipeline.__module__).setLevel(logging.ERROR)
        options.check(FolderSettings.read(folder).loras)
        loaded = FluxPipeline.from_pretrained(folder, dtype=dtype, local_files_only=True)
        pipeline = place(loaded, device, options)
        pipeline.set_progress_bar_config(disable=True)
        self.name, self.device, self.dtype, self.exact = name, device, dtype, options.exact
        self.pipeline: Any = pipeline
        self._text_tokens = min(pipeline.tokenizer_2.model_max_length, MAX_TEXT_TOKENS)
        self._pixels_per_token = pipeline.vae_scale_factor * _PATCH
        if (folder / FEW_STEPS_FOLDER).is_dir():
            raise ValueError(f"{folder}: a FluxPipeline with a student of few steps is not supported")
        self.base_digest = digest_of(folder)
        self.calibration = Calibration.read(folder, self.base_digest)
        self.catalog = self._describe(folder, served_digest(folder, self.base_digest, options.weights))
        assert isinstance(self.catalog.shapes, FluxShapes)
        self.network = FluxNetwork(
            pipeline.transformer,
            self.catalog.shapes,
            pixels_per_token=self._pixels_per_token,
            text_tokens=self._text_tokens,
            mesh=options.mesh,
            declared=declared(folder),
        )
        self._loras = Loras(pipeline, folder, FolderSettings.read(folder).loras)
        prepare(pipeline.transformer, device, options)
        self.variants: Mapping[str, Variant] = {}

    @property
    def latents_dtype(self) -> torch.dtype:
        return self.dtype

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.pipeline.scheduler.config
        return config

    def use_lora(self, name: str | None) -> None:
        self._loras.use(name)

    def grid(self, width: int, height: int, num_frames: int | None = None) -> Grid:
        return Grid(height // self._pixels_per_token, width // self._pixels_per_token)

    def noise_shape(self, grid: Grid) -> tuple[int, ...]:
        channels = self.pipeline.transformer.config.in_channels // _PATCH**2
        return (1, channels, grid.height * _PATCH, grid.width * _PATCH)

    def pack(self, noise: Tensor) -> Tensor:
        packed: Tensor = self.pipeline._pack_latents(noise, *noise.shape)
        return packed

    def encode(self, prompt: str, guidance_scale: float | None) -> Condition:
        """(prompt_embeds (1, T, D), pooled_prompt_embeds (1, D)), and the guidance if distilled."""
        prompt_embeds, pooled, _ = self.pipeline.encode_prompt(
            prompt, prompt_2=None, device=self.device, max_sequence_length=self._text_tokens
        )
        if not self.catalog.embedded_guidance:
            return Condition((prompt_embeds, pooled))
        assert guidance_scale is not None, "resolve() fills an embedded guidance"
        return Condition((prompt_embeds, pooled), (guidance_scale,))

    def decode(self, latents: Tensor, grid: Grid) -> Image:
        pipeline, vae = self.pipeline, self.pipeline.vae
        height, width = grid.height * self._pixels_per_token, grid.width * self._pixels_per_token
        unpacked = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
        scaled = unpacked / vae.config.scaling_factor + vae.config.shift_factor
        pixels = vae.decode(scaled, return_dict=False)[0]
        image: Image = pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
        return image

    def _describe(self, folder: Path, digest: str) -> CatalogEntry:
        config, settings = self.pipeline.transformer.config, FolderSettings.read(folder)
        distilled = bool(config.guidance_embeds)
        fields = ["prompt", "width", "height", "num_inference_steps", "guidance_scale", "seed", "n"]
        return CatalogEntry(
            name=self.name,
            family=self.family,
            modality="image",
            digest=digest,
            dtype=str(self.dtype).removeprefix("torch."),
            shapes=_shapes(folder, self._text_tokens),
            sizes=settings.limit(self._sizes()),
            defaults=settings.fill(self._defaults(distilled)),
            methods=(*FEWER_STEPS, *CACHES),
            input_fields=(
                *fields,
                *(() if distilled else ("negative_prompt",)),
                *(("lora",) if settings.loras else ()),
            ),
            embedded_guidance=distilled,
            calibration=self.calibration.id if self.calibration else None,
            points=self.calibration.points if self.calibration else (),
            created=newest_change(folder),
            loras=tuple(sorted(settings.loras)),
        )

    def _sizes(self) -> SizeLimits:
        multiple = self._pixels_per_token
        least = multiple * _MIN_TOKENS_PER_SIDE
        return SizeLimits(multiple=multiple, min_side=least, max_side=_MAX_SIDE, max_pixels=_MAX_SIDE**2)

    def _defaults(self, distilled: bool) -> InputDefaults:
        """28 steps as FLUX.1-dev, or 4 as FLUX.1-schnell, which has neither guidance nor shifting."""
        shifted = self.scheduler_config["use_dynamic_shifting"] or self.scheduler_config["shift"] != 1.0
        few = not distilled and not shifted
        side = self.pipeline.vae_scale_factor * _DEFAULT_LATENT_SIDE
        return InputDefaults(
            width=side, height=side, num_inference_steps=4 if few else 28, guidance_scale=_GUIDANCE_SCALE
        )


def _shapes(folder: Path, text_tokens: int) -> FluxShapes:
    names = ("transformer", "text_encoder", "text_encoder_2", "vae")
    configs = [json.loads((folder / name / "config.json").read_text("utf-8")) for name in names]
    return FluxShapes.from_configs(*configs, text_tokens=text_tokens)
