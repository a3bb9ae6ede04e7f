"""Figures of what an arm drew; features are kept beside the samples they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.quality_vs_compute.distances import kernel_inception_distance
from benchmarks.quality_vs_compute.features import Features, features
from workers.training.autoencoder import reconstruct
from workers.training.evaluation import figures
from workers.training.jlt.frozen import Frozen
from workers.training.jlt.latents import draw_scenes, unique_scenes
from workers.training.jlt.runs import samples_path, wanted
from workers.training.jlt.settings import Arm, JltSettings

REAL_SEED = 4096  # no pool and no caption is drawn from it
_FIGURES = ("object", "background", "position", "size", "everything")


class Bench:
    """What all arms are held against: the captions they drew for, and real scenes of others.

    Args:
        settings: the recipe's, as it ran.
        work: its folder.
        flux_tiny: the folder of the frozen autoencoder.
        num_real: scenes.
    """

    def __init__(self, settings: JltSettings, work: Path, flux_tiny: Path, num_real: int) -> None:
        self._settings, self._work, self._flux_tiny = settings, work, flux_tiny
        sampling, kinds = settings.sampling, settings.pool.kinds
        asked = unique_scenes(sampling.num_images, sampling.seed, "heldout", kinds)
        self._attributes = [scene.attributes for scene in asked]
        self._images = [scene.image for scene in asked]
        real = draw_scenes(num_real, REAL_SEED, "heldout", kinds)
        self._real = self._features([scene.image for scene in real], work / f"real-{num_real}.features.npy")

    def rows(self) -> list[dict[str, Any]]:
        """A row an arm, step and guidance that was drawn.

        Raises:
            FileNotFoundError: an arm is not done; `rheostat train jlt` goes on with it.
        """
        return [
            self._row(arm, step, weight)
            for arm in self._settings.arms
            for step, weight in wanted(self._settings)
        ]

    def floor(self) -> dict[str, float]:
        """Of the autoencoder's reconstructions of real scenes of the captions asked for."""
        rebuilt = reconstruct(Frozen(self._flux_tiny).pipeline.vae, self._images)
        return self._figures(rebuilt, features(rebuilt))

    def _row(self, arm: Arm, step: int, weight: float) -> dict[str, Any]:
        path = samples_path(self._work, arm, step, weight)
        images = [Image.fromarray(each) for each in np.load(path)]
        told = {**arm.model_dump(mode="json"), "arm": arm.name, "step": step, "guidance": weight}
        return {**told, **self._figures(images, self._features(images, path.with_suffix(".features.npy")))}

    def _figures(self, images: Sequence[Image.Image], found: Features) -> dict[str, float]:
        distance = kernel_inception_distance(found, self._real)
        seen = figures(images, self._attributes)
        return {
            "kid": round(distance.mean, 6),
            **{name: round(seen[name], 4) for name in _FIGURES if name in seen},
        }

    def _features(self, images: Sequence[Image.Image], path: Path) -> Features:
        """Those of the file, if it is there."""
        if not path.exists():
            np.save(path, features(images))
        found: Features = np.load(path)
        return found
