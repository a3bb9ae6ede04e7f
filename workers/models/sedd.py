"""The SEDD family: discrete diffusion over a uniform graph, text or music by its vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protocol.sedd_shape import SeddShape
from workers.core import Grid
from workers.models.options import PLAIN, LoadOptions
from workers.models.sedd_network import SeddNetwork
from workers.models.sedd_pipeline import SeddPipeline
from workers.models.vocabulary import CharacterVocabulary, ChoraleVocabulary
from workers.music import PARTS


class Sedd:
    """A loaded SeddPipeline folder: the network and what is needed to sample from it and to read the samples.

    The engine does not run this family yet, so there is no catalog entry.

    Args:
        name: of the model.
        folder: of the checkpoint.
        device, dtype: of the network.
        options: none that differs from the plain way.

    Raises:
        ValueError: one that does.
    """

    family = "sedd"

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
    def grid(self) -> Grid:
        """The tokens of a sample: voices by steps, or one line of characters."""
        length = self.shapes.length
        if isinstance(self.vocabulary, ChoraleVocabulary):
            return Grid(len(PARTS), length // len(PARTS))
        return Grid(1, length)

    def score(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Ratios (B, n, S), float32, as `workers.sampling.discrete.sample` takes them; see `SeddNetwork`."""
        return self.network.score(tokens, sigma)
