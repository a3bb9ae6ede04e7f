"""`rheostat train jlt`: the same network trained on clean latents and on velocities, all else equal.

pool -> spectrum -> arms -> export

Needs `flux-tiny`, whose autoencoder and text encoders are used and not trained. Every stage goes on from
where it stopped; `python -m benchmarks.jlt` reads what the arms drew. See decision 0025 for what the paper
leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

from workers.core import Prediction
from workers.training.jlt.frozen import Frozen
from workers.training.jlt.latents import LatentPool, build_pool, frame_of, spectrum
from workers.training.jlt.runs import Order, pool_path, run_all, states_of
from workers.training.jlt.settings import Arm, JltSettings, Latents
from workers.training.jlt.trainee import build_network
from workers.training.pipeline_folder import place_pipeline
from workers.training.recipes import SERVED_AS
from workers.training.resumable import Deadline

_FRAMES: tuple[Latents, ...] = ("plain", "whitened")


@dataclass(frozen=True)
class JltRecipe:
    """The stages over one cache folder; `flux-tiny` is looked for in `out`."""

    cache: Path
    out: Path
    deadline: Deadline
    settings: JltSettings = field(default_factory=JltSettings)

    @property
    def work(self) -> Path:
        """The folder of this recipe's states and samples."""
        return self.cache / "jlt"

    @property
    def flux_tiny(self) -> Path:
        """The folder of what is frozen."""
        return self.out / "flux-tiny"

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""
        return {"pool": self.pool, "spectrum": self.spectrum, "arms": self.arms, "export": self.export}

    def pool(self) -> bool:
        """Encode the training scenes once."""
        if not pool_path(self.work).exists():
            build_pool(Frozen(self.flux_tiny), self.settings.pool, pool_path(self.work))
        return True

    def spectrum(self) -> bool:
        """Write the latents' covariance spectrum, token by token and as a whole, plain and whitened."""
        latents = LatentPool.read(pool_path(self.work)).latents.float()
        report: dict[str, Any] = {}
        for kind in _FRAMES:
            seen = frame_of(latents, kind).enter(latents)
            report[kind] = {"tokens": spectrum(seen.flatten(0, 1)), "whole": spectrum(seen.flatten(1))}
        (self.work / "spectrum.json").write_text(json.dumps(report, indent=2) + "\n")
        return True

    def arms(self) -> bool:
        """Train every arm and draw from it."""
        (self.work / "settings.json").write_text(self.settings.model_dump_json(indent=2) + "\n")
        return run_all(Order(self.settings, self.work, self.flux_tiny, self.deadline.minutes_left()))

    def export(self) -> bool:
        """Write the first seed's pair as pipelines that say what they predict: `jlt-x0` and `jlt-flow`."""
        for target in (Prediction.X0, Prediction.FLOW):
            self._export(Arm(target=target, seed=self.settings.seeds[0]))
        return True

    def _export(self, arm: Arm) -> None:
        states = states_of(self.settings, self.work, arm)
        network, step = build_network(self.settings, arm), states.latest()
        network.load_state_dict(states.load(step)["average"])
        pipeline = FluxPipeline.from_pretrained(
            self.flux_tiny,
            dtype=torch.bfloat16,
            transformer=network.transformer.bfloat16(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False),
            local_files_only=True,
        )
        prediction: dict[str, Any] = {"target": arm.target.value}
        if arm.target is not Prediction.FLOW:
            prediction["clamp"] = self.settings.sampling.clamp
        record = {"recipe": "jlt", "arm": arm.name, "step": step, "settings": self.settings.model_dump()}
        records = {"training.json": record, "rheostat.json": {**SERVED_AS, "prediction": prediction}}
        folder = self.out / f"jlt-{arm.target.value}"
        place_pipeline(pipeline, folder, records)
