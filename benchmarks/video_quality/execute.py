"""Run an arm on some pairs: through our engine by the public request, or through diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.quality_vs_compute.peers import FlopCount, counted
from benchmarks.video_quality.arms import REAL, Arm, plan_of, request_of
from benchmarks.video_quality.pairs import ClipPair, renderings
from benchmarks.video_quality.peers import Shot, full_flop, load_pipeline, run
from protocol.catalog import CatalogEntry
from workers.engine import Engine, EngineSettings, Finished, Result
from workers.models import load, row_linear
from workers.training.clips import Frames

ROWS = 8


@dataclass(frozen=True)
class Made:
    """One pair's outcome.

    Args:
        frames: (F, H, W, 3) uint8.
        latents: (1, C, F', h, w), float32; None of a real clip.
        spent: FLOP of the denoiser as its receipt says, as a share of the teacher's unabridged run.
        measured: the same as counted while it ran; of our engine the mean over the pairs made together.
        nfe: evaluations that ran at least one block; NaN where it is not told.
        seconds: of denoising.
    """

    frames: Frames
    latents: Tensor | None = None
    spent: float = np.nan
    measured: float = np.nan
    nfe: float = np.nan
    seconds: float = np.nan


class Studio:
    """What arms are run with, loaded when first needed. float32.

    Args:
        teacher: a name or a folder.
        steps: of every run; None: the teacher's own.
    """

    def __init__(self, teacher: str | Path, steps: int | None = None) -> None:
        self._teacher = teacher
        self._models: dict[Path | None, Any] = {}
        self._engines: dict[Path | None, Engine] = {}
        self._steps = steps

    @property
    def steps(self) -> int:
        return self._steps or int(self.entry().defaults.num_inference_steps)

    @property
    def shot(self) -> Shot:
        return Shot.of(self.entry())

    @property
    def full_flop(self) -> int:
        """Of the teacher's unabridged run, as counted: what every share is of."""
        return full_flop(self.pipeline, self.shot, self.steps)

    @cached_property
    def pipeline(self) -> Any:
        """The teacher's, for released methods."""
        return load_pipeline(self._teacher)

    def model(self, folder: Path | None = None) -> Any:
        """The model of a folder, loaded once; None: the teacher."""
        if folder not in self._models:
            self._models[folder] = load(folder or self._teacher, dtype="float32")
        return self._models[folder]

    def entry(self, folder: Path | None = None) -> CatalogEntry:
        found: CatalogEntry = self.model(folder).catalog
        return found

    def make(self, arm: Arm, pairs: Sequence[ClipPair]) -> list[Made]:
        """Outcomes in the order of the pairs.

        Raises:
            RheostatError: the model cannot do what the arm asks.
            RuntimeError: a sample failed.
        """
        if arm.line == REAL:
            return [Made(frames) for frames in renderings(pairs)]
        return self._by_engine(arm, pairs) if arm.peer is None else self._by_pipeline(arm, pairs)

    def engine(self, folder: Path | None) -> Engine:
        """An engine of that model, warm."""
        if folder not in self._engines:
            model = self.model(folder)
            engine = Engine(model, EngineSettings(max_rows=ROWS * model.network.layout.max_lanes))
            engine.run([{"model": model.name, "input": {"prompt": "a", "seed": 0, "num_inference_steps": 2}}])
            self._engines[folder] = engine
        return self._engines[folder]

    def run(self, arm: Arm, pairs: Sequence[ClipPair]) -> list[Result]:
        """The arm's requests, all in flight together."""
        engine, entry = self.engine(arm.folder), self.entry(arm.folder)
        plan = plan_of(arm, entry, self.steps)
        keys = [
            engine.add(request_of(arm, entry.name, self.steps, pair.caption, pair.seed), plan=plan)
            for pair in pairs
        ]
        results: dict[str, Result] = {}
        while not engine.idle:
            results |= {event.id: event.result for event in engine.step() if isinstance(event, Finished)}
        if missing := [key for key in keys if key not in results]:
            raise RuntimeError(f"{arm.name}: {len(missing)} of {len(keys)} samples failed")
        return [results[key] for key in keys]

    def _by_engine(self, arm: Arm, pairs: Sequence[ClipPair]) -> list[Made]:
        self.engine(arm.folder)
        with counted_denoiser(self.model(arm.folder)) as count:
            results = self.run(arm, pairs)
        measured = count.flop / (len(pairs) * self.full_flop)
        return [_from_result(result, measured) for result in results]

    def _by_pipeline(self, arm: Arm, pairs: Sequence[ClipPair]) -> list[Made]:
        assert arm.peer is not None, "asked only for peers"
        captions, seeds = [pair.caption for pair in pairs], [pair.seed for pair in pairs]
        runs = run(self.pipeline, arm.peer, captions, seeds, shot=self.shot, steps=self.steps)
        return [
            Made(self._decoded(one.latents), one.latents, one.share, one.share, seconds=one.seconds)
            for one in runs
        ]

    @torch.inference_mode()
    def _decoded(self, latents: Tensor) -> Frames:
        shot, model = self.shot, self.model()
        frames: Frames = model.decode(latents, model.grid(shot.width, shot.height, shot.num_frames))
        return frames


@contextmanager
def counted_denoiser(model: Any) -> Iterator[FlopCount]:
    """Count what an engine runs of this model, its text encoder and its decoder left out."""
    with counted() as count:

        def uncounted(work: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any, **named: Any) -> Any:
                before = count.flop
                try:
                    return work(*given, **named)
                finally:
                    count.flop = before

            return call

        # Our Linears of one row a sample hold torch's function under a name of their own.
        rows = patch.object(row_linear, "linear", functional.linear)
        with rows, patch.multiple(model, encode=uncounted(model.encode), decode=uncounted(model.decode)):
            yield count


def _from_result(result: Result, measured: float) -> Made:
    (sample,) = result.samples
    assert sample.video is not None, "the model makes clips"
    return Made(
        frames=sample.video,
        latents=sample.latents,
        spent=result.receipt.spent,
        measured=measured,
        nfe=float(result.receipt.nfe),
        seconds=result.stage_seconds["denoise"],
    )
