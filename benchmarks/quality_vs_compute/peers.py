"""Released caches on flux-tiny through diffusers' own pipeline, each sample alone.

diffusers 0.42: First-Block Cache, TaylorSeer, MagCache. cache-dit 1.5: DBCache, DBCache with TaylorSeer,
DBPrune. A setting's keys are the library's own. Their decisions are taken per batch, so the batch is one.
TaylorSeer's factors are kept in float32, not in diffusers' default bfloat16, as all arms run in float32.
"""

from __future__ import annotations

import ast
import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from diffusers import FirstBlockCacheConfig, FluxPipeline, MagCacheConfig, TaylorSeerCacheConfig
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import sdpa_flop_count

from workers.training.scenes import sample_scenes

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "flux-tiny"
STEPS = 28
SIDE = 64
_MAG_CAPTIONS, _MAG_SEED = 8, 1  # drawn apart from the captions settings are chosen on

Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """A released cache and one setting of it.

    Attributes:
        name: one of `NAMES`; "plain" is no cache.
        setting: arguments of the library's config, JSON values.
    """

    name: str
    setting: Setting = field(default_factory=dict)


@dataclass(frozen=True)
class PeerRun:
    """One sample.

    Attributes:
        latents: (1, tokens, channels), float32, packed as the pipeline returns them.
        share: FLOP of the denoiser counted on this run, over those of the run without a cache.
        seconds: wall time of the denoising loop, counting included (1 to 2 %).
    """

    latents: Tensor
    share: float
    seconds: float


def load_pipeline(folder: Path = CHECKPOINT) -> Any:
    """diffusers' FluxPipeline in float32."""
    pipeline = FluxPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(
    pipeline: Any, peer: Peer, captions: Sequence[str], seeds: Sequence[int], *, steps: int = STEPS
) -> list[PeerRun]:
    """Sample every (caption, seed) alone under a peer. The given pipeline is left untouched.

    Args:
        pipeline: without any cache enabled.
        peer: what to enable.
        captions, seeds: of the same length; the noise is diffusers' first draw from the seed.
        steps: evaluations without a cache.

    Raises:
        ValueError: an unknown peer.
    """
    full = full_flop(pipeline, steps)
    config = _config(pipeline, peer, steps)
    private, runs = _private(pipeline), []
    for caption, seed in zip(captions, seeds, strict=True):
        embeds = _encode(private, caption)
        with enabled(private, config), counted() as counter:
            started = time.perf_counter()
            latents = _denoise(private, embeds, seed, steps)
            seconds = time.perf_counter() - started
        runs.append(PeerRun(latents, counter.flop / full, seconds))
    return runs


@lru_cache(maxsize=4)
def full_flop(pipeline: Any, steps: int) -> int:
    """FLOP of the denoiser in one run without a cache; the same for every caption, as text is padded."""
    embeds = _encode(pipeline, "a")
    with counted() as counter:
        _denoise(pipeline, embeds, 0, steps)
    return counter.flop


@lru_cache(maxsize=4)
def mag_ratios(pipeline: Any, steps: int) -> tuple[float, ...]:
    """MagCache's ratios of this model: per step, how much longer the residual is than a step before.

    They are what diffusers' hook prints with `calibrate=True` at the end of a run, averaged over eight
    calibration captions with noise seeds 0 to 7.
    """
    captions = [scene.caption for scene in sample_scenes(_MAG_CAPTIONS, _MAG_SEED, "calibration")]
    private, printed = _private(pipeline), StringIO()
    config = MagCacheConfig(calibrate=True, num_inference_steps=steps)
    with redirect_stdout(printed):
        for seed, caption in enumerate(captions):
            with enabled(private, config):
                _denoise(private, _encode(private, caption), seed, steps)
    lists = [ast.literal_eval(line) for line in printed.getvalue().splitlines() if line.startswith("[1.0")]
    return tuple(float(value) for value in np.mean(np.array(lists).reshape(len(captions), steps), axis=0))


@dataclass
class FlopCount:
    """What has run so far: multiply-adds of matrix products count two."""

    flop: int = 0


@contextmanager
def counted() -> Iterator[FlopCount]:
    """Count every Linear, every attention and every 3-D convolution that really runs inside, by its shapes.

    A FLUX or Wan denoiser has no other matrix product, so the sum is FlopCounterMode's with attention added,
    without watching every elementwise call. Not for two threads at once: it stands in for torch's functions.
    """
    count, linear, attention = FlopCount(), functional.linear, functional.scaled_dot_product_attention
    convolution = functional.conv3d

    def linear_counted(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        count.flop += 2 * given.numel() * weight.shape[0]
        return linear(given, weight, bias)

    def attention_counted(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> Tensor:
        count.flop += _attention_flop(query.shape, key.shape, value.shape)
        return attention(query, key, value, *rest, **named)

    def convolution_counted(given: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Tensor:
        made: Tensor = convolution(given, weight, *rest, **named)
        count.flop += 2 * made.numel() * weight[0].numel()
        return made

    with patch.multiple(
        functional,
        linear=linear_counted,
        scaled_dot_product_attention=attention_counted,
        conv3d=convolution_counted,
    ):
        yield count


@lru_cache(maxsize=64)
def _attention_flop(query: torch.Size, key: torch.Size, value: torch.Size) -> int:
    """torch's own count, remembered: it takes longer than a small attention."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _private(pipeline: Any) -> Any:
    """The pipeline with a copy of its transformer: cache-dit leaves a patched forward behind."""
    private = FluxPipeline(**{**pipeline.components, "transformer": copy.deepcopy(pipeline.transformer)})
    private.set_progress_bar_config(disable=True)
    return private


def _encode(pipeline: Any, caption: str) -> dict[str, Tensor]:
    with torch.no_grad():
        prompt_embeds, pooled, _ = pipeline.encode_prompt(
            caption, None, max_sequence_length=pipeline.tokenizer_2.model_max_length
        )
    return {"prompt_embeds": prompt_embeds, "pooled_prompt_embeds": pooled}


def _denoise(pipeline: Any, embeds: dict[str, Tensor], seed: int, steps: int) -> Tensor:
    latents: Tensor = pipeline(
        **embeds,
        height=SIDE,
        width=SIDE,
        num_inference_steps=steps,
        max_sequence_length=pipeline.tokenizer_2.model_max_length,
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="latent",
    ).images
    return latents


# What TaylorSeer's paper forecasts: the outputs of attentions and feed-forwards. diffusers' default names
# only the attentions.
_ALL_MODULES = [
    r"transformer_blocks\.\d+\.(attn|ff|ff_context)",
    r"single_transformer_blocks\.\d+\.(attn|proj_mlp|proj_out)",
]


def _taylorseer(**fixed: Any) -> Callable[[Any, Setting, int], Any]:
    exact = {"taylor_factors_dtype": torch.float32, **fixed}
    return lambda pipeline, setting, steps: TaylorSeerCacheConfig(**setting, **exact)


def _magcache(pipeline: Any, setting: Setting, steps: int) -> MagCacheConfig:
    return MagCacheConfig(**setting, num_inference_steps=steps, mag_ratios=list(mag_ratios(pipeline, steps)))


def cache_dit_arguments(kind: str) -> Callable[[Any, Setting, int], dict[str, Any]]:
    def arguments(pipeline: Any, setting: Setting, steps: int) -> dict[str, Any]:
        os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")  # read on import
        import cache_dit

        given = dict(setting)
        order = given.pop("taylorseer_order", None)
        made = {"cache_config": getattr(cache_dit, kind)(**given)}
        if order is not None:
            made["calibrator_config"] = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=order)
        return made

    return arguments


_CONFIGS: dict[str, Callable[[Any, Setting, int], Any]] = {
    "plain": lambda pipeline, setting, steps: None,
    "first_block": lambda pipeline, setting, steps: FirstBlockCacheConfig(**setting),
    "taylorseer_attention": _taylorseer(),
    "taylorseer_modules": _taylorseer(cache_identifiers=_ALL_MODULES),
    "taylorseer_lite": _taylorseer(use_lite_mode=True),
    "magcache": _magcache,
    "dbcache": cache_dit_arguments("DBCacheConfig"),
    "dbcache_taylor": cache_dit_arguments("DBCacheConfig"),
    "dbprune": cache_dit_arguments("DBPruneConfig"),
}
NAMES = tuple(_CONFIGS)


def _config(pipeline: Any, peer: Peer, steps: int) -> Any:
    """None, a diffusers config, or cache-dit's arguments."""
    if peer.name not in _CONFIGS:
        raise ValueError(f"no peer {peer.name}; known: {', '.join(NAMES)}")
    return _CONFIGS[peer.name](pipeline, peer.setting, steps)


@contextmanager
def enabled(pipeline: Any, config: Any) -> Iterator[None]:
    """A fresh cache for one sample, gone afterwards."""
    if config is None:
        yield
    elif isinstance(config, dict):
        import cache_dit

        cache_dit.enable_cache(pipeline, **copy.deepcopy(config))
        try:
            yield
        finally:
            cache_dit.disable_cache(pipeline)
    else:
        pipeline.transformer.enable_cache(config)
        try:
            yield
        finally:
            pipeline.transformer.disable_cache()
