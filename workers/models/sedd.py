"""The SEDD family: discrete diffusion over a uniform graph, text or music by its vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protocol.calibration import Calibration
from protocol.catalog import CatalogEntry, InputDefaults, LengthLimits
from protocol.methods import SAMPLERS
from protocol.notes import PARTS
from protocol.sedd_shape import SeddShape, SeddShapes
from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary
from workers.core import Grid
from workers.models.folder import FolderSettings, digest_of, newest_change
from workers.models.model import Piece, Variant
from workers.models.options import PLAIN, LoadOptions
from workers.models.sedd_network import SeddNetwork
from workers.models.sedd_pipeline import SeddPipeline

_SAMPLER = "blocks"
"""What runs where nothing is calibrated and nothing named, see `docs/discrete-sampling.md`."""
_STEPS = 128
"""Evaluations of an unabridged run."""
_FIELDS = ("length", "given", "num_inference_steps", "seed", "n")


class Sedd:
    """A loaded SeddPipeline folder: the network and what is needed to sample from it and to read the samples.

    Args:
        name: in the catalog.
        folder: of the checkpoint.
        device, dtype: of the network.
        options: none that differs from the plain way.

    Raises:
        ValueError: such an option, or a checkpoint this engine would not run faithfully.
    """

    family = "sedd"
    depth_router = None
    exact = True

    def __init__(
        self,
        name: str,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        options: LoadOptions = PLAIN,
    ) -> None:
        if options != PLAIN:
            raise ValueError(f"{name} is a model of tokens, which is loaded plainly; allowed: no options")
        self.pipeline = SeddPipeline.from_pretrained(folder, dtype)
        self.pipeline.transformer.to(device)
        self.name, self.device, self.dtype = name, device, dtype
        self.network = SeddNetwork(self.pipeline.transformer)
        self.base_digest = digest_of(folder)
        self.calibration = Calibration.read(folder, self.base_digest)
        self.catalog = self._describe(folder, self.base_digest)
        self.variants: Mapping[str, Variant] = {}

    def use_lora(self, name: str | None) -> None:
        """There are none."""
        assert name is None, "the catalog lists no LoRA"

    @property
    def shapes(self) -> SeddShape:
        """What its compute depends on."""
        return self.pipeline.transformer.config

    @property
    def vocabulary(self) -> CharacterVocabulary | ChoraleVocabulary:
        """How tokens are read."""
        return self.pipeline.tokenizer

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The noise the network was trained under."""
        return self.pipeline.scheduler

    @property
    def sigma_max(self) -> float:
        """The most total noise it was trained under."""
        noise = self.scheduler_config
        return -math.log(noise["eps"]) if "eps" in noise else float(noise["sigma_max"])

    def token_grid(self, length: int) -> Grid:
        """Voices by steps, or one line of characters."""
        if isinstance(self.vocabulary, ChoraleVocabulary):
            return Grid(len(PARTS), length // len(PARTS))
        return Grid(1, length)

    def read(self, tokens: Tensor) -> str | Piece:
        """One sample's tokens (1, n) as text or as music."""
        listed = tokens[0].tolist()
        if isinstance(self.vocabulary, ChoraleVocabulary):
            return Piece(tuple(self.vocabulary.decode(listed)), self.vocabulary.steps)
        return self.vocabulary.decode(listed)

    def score(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Ratios (B, n, S), float32, as `workers.sampling.discrete.sample` takes them; see `SeddNetwork`."""
        return self.network.score(tokens, sigma)

    def _describe(self, folder: Path, digest: str) -> CatalogEntry:
        settings, calibration = FolderSettings.read(folder), self.calibration
        shape = SeddShape(**self.shapes.model_dump(include=set(SeddShape.model_fields)))
        lengths = self._lengths()
        defaults = InputDefaults(num_inference_steps=_STEPS, length=lengths.max_length)
        return CatalogEntry(
            name=self.name,
            family=self.family,
            modality="text" if isinstance(self.vocabulary, CharacterVocabulary) else "music",
            digest=digest,
            dtype=str(self.dtype).removeprefix("torch."),
            shapes=SeddShapes(transformer=shape),
            lengths=lengths,
            vocabulary=self.vocabulary,
            defaults=settings.fill(defaults),
            methods=("steps", *SAMPLERS),
            input_fields=_FIELDS,
            solver=_SAMPLER,
            calibration=None if calibration is None else calibration.id,
            points=() if calibration is None else calibration.points,
            created=newest_change(folder),
        )

    def _lengths(self) -> LengthLimits:
        """Characters of any number the network knows; a piece is as long as its vocabulary says."""
        most = self.shapes.length
        if isinstance(self.vocabulary, CharacterVocabulary):
            return LengthLimits(min_length=1, max_length=most)
        if most != (whole := len(PARTS) * self.vocabulary.steps):
            raise ValueError(f"{self.name}: {most} places for {whole} tokens of a piece")
        return LengthLimits(min_length=whole, max_length=whole)
