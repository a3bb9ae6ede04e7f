"""Samplers on a chain of 64 or 128 tokens with exact scores: quality, entropy and wall clock at each NFE."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.discrete_exact.chain import Chain, random_chain
from benchmarks.discrete_exact.published import PUBLISHED
from benchmarks.quality_vs_compute.store import Store
from workers.sampling.discrete import sample

SETTINGS: dict[str, dict[str, Any]] = {
    **PUBLISHED,
    "Tweedie + exact L=1": {"corrector": "exact"},
    "stale L=.31d": {"corrector": "stale", "predictor": "euler", "threshold": None},
    "gadd-paper": {"corrector": "gadd-paper"},
    "sync thr .1": {"corrector": "sync", "predictor": "euler"},
    "ours": {"corrector": "blocks"},
    "ours, neighbours too": {"corrector": "blocks", "spacing": 1, "share": 0.35},
    "ours, one verdict a row": {"corrector": "blocks", "segment": None},
}
TRUTH = "the chain itself"
CHUNK = 500
_SIZE, _CONCENTRATION, _SEED = 12, 0.15, 5


@dataclass(frozen=True)
class Arm:
    """A sampler at a number of evaluations on a length. NFE 0 and `TRUTH`: true sequences."""

    sampler: str
    num_tokens: int
    nfe: int

    @property
    def key(self) -> str:
        plain = "".join(each if each.isalnum() else "_" for each in self.sampler)
        return f"{plain}.{self.num_tokens}.{self.nfe}"


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    lengths: tuple[int, ...] = (64, 128)
    nfes: tuple[int, ...] = (16, 32, 64, 128, 256)
    samples: int = 3_000

    @cached_property
    def arms(self) -> list[Arm]:
        """Cheap ones first, so that a run that is cut off has whole columns."""
        runs = [Arm(name, length, nfe) for nfe in self.nfes for length in self.lengths for name in SETTINGS]
        return [Arm(TRUTH, length, 0) for length in self.lengths] + runs


def chain(num_tokens: int) -> Chain:
    """12 tokens, 1.27 nats a step, 2.30 a token."""
    return random_chain(_SIZE, num_tokens, concentration=_CONCENTRATION, seed=_SEED)


def items(scale: Scale) -> Iterator[tuple[Arm, int]]:
    """Arms and chunks in the order they are made."""
    chunks = -(-scale.samples // CHUNK)
    return ((arm, chunk) for arm in scale.arms for chunk in range(chunks))


def make(scale: Scale, store: Store, minutes: float) -> bool:
    """Fill the store until all is there or the time is up; whether all is."""
    until = time.monotonic() + 60 * minutes
    for arm, chunk in items(scale):
        if time.monotonic() > until:
            break
        with store.claim(arm.key, chunk) as free:
            if free:
                store.write(arm.key, chunk, run(arm, chunk, min(CHUNK, scale.samples)))
    return all(store.done(arm.key, chunk) for arm, chunk in items(scale))


def run(arm: Arm, chunk: int, count: int) -> dict[str, NDArray[Any]]:
    """One chunk: tokens, and seconds of wall clock."""
    source, seed = chain(arm.num_tokens), 1_000 * chunk
    started = time.perf_counter()
    if arm.sampler == TRUTH:
        tokens = source.draw(count, torch.Generator().manual_seed(seed))
    else:
        tokens = _sampled(arm, source, range(seed, seed + count))
    seconds = time.perf_counter() - started
    return {"tokens": tokens.numpy().astype(np.uint8), "seconds": np.array([seconds])}


def _sampled(arm: Arm, source: Chain, seeds: Sequence[int]) -> Tensor:
    return sample(
        source.score,
        num_tokens=source.num_tokens,
        vocab_size=source.vocab_size,
        nfe=arm.nfe,
        batch=len(seeds),
        seeds=seeds,
        **SETTINGS[arm.sampler],
    )


def rows(scale: Scale, store: Store) -> list[dict[str, Any]]:
    """Figures of every arm that is whole."""
    chunks = range(-(-scale.samples // CHUNK))
    whole = [arm for arm in scale.arms if all(store.done(arm.key, chunk) for chunk in chunks)]
    result = []
    for arm in whole:
        parts = [store.read(arm.key, chunk) for chunk in chunks]
        tokens = torch.from_numpy(np.concatenate([part["tokens"] for part in parts])).long()
        seconds = float(sum(part["seconds"][0] for part in parts))
        result.append(
            {"sampler": arm.sampler, "d": arm.num_tokens, "nfe": arm.nfe}
            | figures(chain(arm.num_tokens), tokens)
            | {"seconds": seconds}
        )
    return result


def figures(source: Chain, tokens: Tensor) -> dict[str, float]:
    """Distances and entropies of (B, d) tokens; nats, a token.

    `sequence_entropy` is that of a stationary chain with the samples' own neighbours, `nll` under the true
    one, which sharpening lowers as well.
    """
    pairs = _law(source, tokens[:, :-1], tokens[:, 1:])
    apart = _law(source, tokens[:, :-2], tokens[:, 2:])
    single = torch.bincount(tokens.flatten(), minlength=source.vocab_size).double()
    unigram = _entropy(single / single.sum())
    following = _entropy(pairs) - _entropy(pairs.sum(1))
    logs = source.steps.log()[tokens[:, :-1], tokens[:, 1:]].sum(1) + source.start.log()[tokens[:, 0]]
    length = source.num_tokens
    return {
        "samples": len(tokens),
        "bigram_tv": float((pairs - source.bigrams).abs().sum() / 2),
        "skip_tv": float((apart - source.bigrams @ source.steps).abs().sum() / 2),
        "nll": float(-logs.mean()) / length,
        "unigram_entropy": unigram,
        "sequence_entropy": (unigram + (length - 1) * following) / length,
    }


def _law(source: Chain, first: Tensor, second: Tensor) -> Tensor:
    size = source.vocab_size
    counts = torch.bincount((first * size + second).flatten(), minlength=size * size).double()
    return (counts / counts.sum()).reshape(size, size)


def _entropy(law: Tensor) -> float:
    return float(-torch.special.xlogy(law, law).sum())
