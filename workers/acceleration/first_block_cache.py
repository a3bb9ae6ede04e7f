"""First-Block Cache, in the general form of DBCache: first and last blocks always run."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from workers.acceleration.anchored import MethodConfig
from workers.acceleration.residual import ResidualCache, lanes, ratios, relative_l1
from workers.core import Go, Hidden, Kept, Row, Sample, Stream, Verdict, combine, taylor_weights


class FirstBlockCacheConfig(MethodConfig):
    """What always runs, and how far it may have moved.

    Args:
        threshold: the blocks between are skipped if the first blocks' residual moved by less since the last
            full evaluation (relative L1); 0 is never. Default 0.08, documented for FLUX.1-dev. Larger is
            cheaper and drifts further.
        first: so many blocks at the start always run and are the signal. Default 1; more see changes better
            and save less.
        last: so many blocks at the end always run, after the residual. Default 0; more repair more and save
            less.
        warmup: so many evaluations after the first are full too. Default 0.
        order: of the Taylor forecast of the residual, over evaluation numbers; 0 takes the last one as it
            is. Default 0.
    """

    threshold: float = Field(default=0.08, ge=0.0)
    first: int = Field(default=1, ge=1)
    last: int = Field(default=0, ge=0)
    warmup: int = Field(default=0, ge=0)
    order: int = Field(default=0, ge=0, le=2)


class FirstBlockCache(ResidualCache[FirstBlockCacheConfig]):
    """Lets the first blocks tell whether the others are worth running.

    The residuals of all token streams are kept; the signal is that of the tokens being denoised, of a guided
    sample's conditional lane.

    `at` leaves the first blocks' input and residual on the sample as "input" and "present", the same whenever
    it is asked; after a full evaluation `end` makes the residual the one to compare with, "reference".

    Source: ParaAttention's first-block cache; cache-dit's DBCache (F_n, B_n).
    """

    config_type = FirstBlockCacheConfig
    num_anchors = 3

    def stretch(self, sample: Sample) -> tuple[int, int]:
        config, num_blocks = self.config(sample), self._layout.num_blocks
        if config.first + config.last >= num_blocks:
            raise ValueError(f"first {config.first} + last {config.last} leave none of {num_blocks} blocks")
        return config.first, num_blocks - config.last

    def residual(self, sample: Sample) -> Hidden:
        anchors, end = sample.anchors, self.stretch(sample)[1]
        places = [anchor.evaluation for anchor in anchors]
        weights = taylor_weights(places, sample.evaluation, self.config(sample).order)
        return tuple(
            combine(streams, weights)
            for streams in zip(*(anchor.kept[end] for anchor in anchors), strict=True)
        )

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        tokens = [stream.hidden[0][row.lanes.start] for row in rows]
        if cut == 0:
            return [self._probe(row.sample, before) for row, before in zip(rows, tokens, strict=True)]
        for row, after in zip(rows, tokens, strict=True):
            row.sample.memory["present"] = after - row.sample.memory["input"]
        samples = [row.sample for row in rows if "reference" in row.sample.memory]
        sums = [relative_l1(item.memory["present"], item.memory["reference"]) for item in samples]
        moves = ratios(sums, self._layout.ranks)
        by_key = {sample.key: move for sample, move in zip(samples, moves, strict=True)}
        return [self._answer(row.sample, lanes(row, stream), by_key.get(row.sample.key)) for row in rows]

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, cuts in zip(rows, kept, strict=True):
            memory = row.sample.memory
            present = memory.pop("present", None)
            memory.pop("input", None)
            if present is not None and self.anchors_here(row.sample, cuts):
                memory["reference"] = present
        return super().end(rows, outputs, kept)

    def anchor(self, sample: Sample, output: Tensor, cuts: Kept) -> None:
        super().anchor(sample, output, cuts)
        sample.anchors = sample.anchors[-self.config(sample).order - 1 :]

    def _probe(self, sample: Sample, tokens: Tensor) -> Go:
        sample.memory["input"] = tokens.clone()
        return Go(0, self.stretch(sample)[0])

    def _answer(self, sample: Sample, hidden: Hidden, move: float | None) -> Verdict:
        config = self.config(sample)
        if move is None or sample.evaluation <= config.warmup:
            return self.run_on(sample, hidden, "warmup")
        if move < config.threshold:
            return self.reuse(sample, hidden, "calm", risk=move, threshold=config.threshold)
        return self.run_on(sample, hidden, "risk", risk=move, threshold=config.threshold)
