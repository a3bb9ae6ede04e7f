"""Run an arm on some pairs: through our engine by the public request, or through diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.quality_vs_compute.arms import ODE, REAL, Arm, Scale
from benchmarks.quality_vs_compute.pairs import Pair, renderings
from benchmarks.quality_vs_compute.peers import SIDE, load_pipeline, run
from protocol.plan import Plan
from protocol.receipts import Action
from workers.engine import Engine, EngineSettings, Finished, Result
from workers.models import load

ROWS = 8
ACTIONS = tuple(Action)


@dataclass(frozen=True)
class Made:
    """One pair's outcome.

    Args:
        image: RGB.
        latents: (1, S, C), float32; None of a real scene.
        spent: FLOP of the denoiser that ran, as a share of the unabridged run's.
        nfe: evaluations that ran at least one block; NaN where it is not told.
        seconds: of denoising.
        actions: how many evaluations took each of `ACTIONS`.
    """

    image: Image.Image
    latents: Tensor | None = None
    spent: float = np.nan
    nfe: float = np.nan
    seconds: float = np.nan
    actions: tuple[int, ...] = (0,) * len(ACTIONS)


class Studio:
    """What arms are run with, loaded when first needed. float32.

    Args:
        scale: steps of the runs and of the ODE's solution.
    """

    def __init__(self, scale: Scale) -> None:
        self._scale = scale

    @cached_property
    def model(self) -> Any:
        return load("flux-tiny", dtype="float32")

    @cached_property
    def _engine(self) -> Engine:
        engine = Engine(self.model, EngineSettings(max_rows=ROWS, max_samples=ROWS))
        engine.run([{"model": self.model.name, "input": {"prompt": "a", "seed": 0}}])  # warm, then timed
        return engine

    @cached_property
    def _pipeline(self) -> Any:
        return load_pipeline()

    def make(self, arm: Arm, pairs: Sequence[Pair]) -> list[Made]:
        """Outcomes in the order of the pairs.

        Raises:
            RheostatError: the model cannot do what the arm asks.
            RuntimeError: a sample failed.
        """
        if arm.line == REAL:
            return [Made(image) for image in renderings(pairs)]
        return self._by_engine(arm, pairs) if arm.peer is None else self._by_pipeline(arm, pairs)

    def _by_engine(self, arm: Arm, pairs: Sequence[Pair]) -> list[Made]:
        """Eight samples in flight; who ends makes room for the next."""
        plan = self._ode_plan() if arm.line == ODE else None
        keys = [self._engine.add(self._request(arm, pair), plan=plan) for pair in pairs]
        results: dict[str, Result] = {}
        while not self._engine.idle:
            results |= {
                event.id: event.result for event in self._engine.step() if isinstance(event, Finished)
            }
        if missing := [key for key in keys if key not in results]:
            raise RuntimeError(f"{arm.name}: {len(missing)} of {len(keys)} samples failed")
        return [_from_result(results[key]) for key in keys]

    def _request(self, arm: Arm, pair: Pair) -> dict[str, Any]:
        steps = self._scale.ode_steps if arm.line == ODE else self._scale.steps
        given = {"prompt": pair.caption, "seed": pair.seed, "num_inference_steps": steps}
        return {"model": self.model.name, "input": given, "compute_budget": dict(arm.budget)}

    def _ode_plan(self) -> Plan:
        """Heun's method, unabridged. Its FLOP are nobody's budget."""
        return Plan(
            methods=(),
            num_inference_steps=self._scale.ode_steps,
            solver="heun",
            granted_flop=1,
            full_flop=1,
            mode="soft",
        )

    def _by_pipeline(self, arm: Arm, pairs: Sequence[Pair]) -> list[Made]:
        assert arm.peer is not None, "asked only for peers"
        captions, seeds = [pair.caption for pair in pairs], [pair.seed for pair in pairs]
        runs = run(self._pipeline, arm.peer, captions, seeds, steps=self._scale.steps)
        return [Made(self._decoded(one.latents), one.latents, one.share, seconds=one.seconds) for one in runs]

    @torch.inference_mode()
    def _decoded(self, latents: Tensor) -> Image.Image:
        image: Image.Image = self.model.decode(latents, self.model.grid(SIDE, SIDE))
        return image


def _from_result(result: Result) -> Made:
    (sample,) = result.samples
    taken = [line.action for line in sample.receipt.steps]
    return Made(
        image=sample.image,
        latents=sample.latents,
        spent=result.receipt.spent,
        nfe=float(result.receipt.nfe),
        seconds=result.stage_seconds["denoise"],
        actions=tuple(taken.count(action) for action in ACTIONS),
    )
