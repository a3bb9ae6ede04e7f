"""cache-dit's DBPrune as released, on a Wan through diffusers' own pipeline, each sample alone.

Counting, enabling and settings are those of `benchmarks.quality_vs_compute.peers`. A sample without guidance
is one call of the transformer a step; cache-dit takes every second call for the unconditional lane unless it
is told so.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import WanPipeline
from torch import Tensor

from benchmarks.quality_vs_compute.peers import Peer, PeerRun, cache_dit_arguments, counted, enabled
from protocol.catalog import CatalogEntry
from workers.models.loading import locate


class Shot(NamedTuple):
    """What every clip of a run has in common."""

    width: int
    height: int
    num_frames: int
    guidance_scale: float

    @classmethod
    def of(cls, entry: CatalogEntry) -> Shot:
        """The model's defaults."""
        at = entry.defaults
        assert at.num_frames is not None, "a video model has frames"
        return cls(at.width, at.height, at.num_frames, at.guidance_scale or 1.0)


def load_pipeline(teacher: str | Path) -> Any:
    """diffusers' WanPipeline in float32, none of our modules in it.

    Args:
        teacher: a name or a folder.
    """
    pipeline = WanPipeline.from_pretrained(locate(teacher)[1], dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(
    pipeline: Any, peer: Peer, captions: Sequence[str], seeds: Sequence[int], *, shot: Shot, steps: int
) -> list[PeerRun]:
    """Sample every (caption, seed) alone under a peer. The given pipeline is left untouched.

    Args:
        pipeline: without any cache enabled.
        peer: "dbprune" or "plain".
        captions, seeds: of the same length; the noise is diffusers' first draw from the seed.
        steps: of the pipeline's scheduler.

    Raises:
        ValueError: an unknown peer.
    """
    full = full_flop(pipeline, shot, steps)
    config = _config(peer, shot)
    private, runs = _private(pipeline), []
    for caption, seed in zip(captions, seeds, strict=True):
        embeds = _encode(private, caption, shot)
        with enabled(private, config), counted() as counter:
            started = time.perf_counter()
            latents = _denoise(private, embeds, seed, shot, steps)
            seconds = time.perf_counter() - started
        runs.append(PeerRun(latents, counter.flop / full, seconds))
    return runs


@lru_cache(maxsize=4)
def full_flop(pipeline: Any, shot: Shot, steps: int) -> int:
    """FLOP of the denoiser in one run without a cache; the same for every caption, as text is padded."""
    embeds = _encode(pipeline, "a", shot)
    with counted() as counter:
        _denoise(pipeline, embeds, 0, shot, steps)
    return counter.flop


def _config(peer: Peer, shot: Shot) -> dict[str, Any] | None:
    if peer.name == "plain":
        return None
    if peer.name != "dbprune":
        raise ValueError(f"no peer {peer.name} for videos; known: dbprune, plain")
    setting = {**peer.setting, "enable_separate_cfg": shot.guidance_scale > 1}
    return cache_dit_arguments("DBPruneConfig")(None, setting, 0)


def _private(pipeline: Any) -> Any:
    """The pipeline with a copy of its transformer: cache-dit leaves a patched forward behind."""
    private = WanPipeline(**{**pipeline.components, "transformer": copy.deepcopy(pipeline.transformer)})
    private.set_progress_bar_config(disable=True)
    return private


@torch.no_grad()
def _encode(pipeline: Any, caption: str, shot: Shot) -> dict[str, Tensor]:
    guided = shot.guidance_scale > 1
    prompt, negative = pipeline.encode_prompt(
        caption,
        None,
        do_classifier_free_guidance=guided,
        max_sequence_length=pipeline.tokenizer.model_max_length,
    )
    return {"prompt_embeds": prompt} | ({"negative_prompt_embeds": negative} if guided else {})


def _denoise(pipeline: Any, embeds: dict[str, Tensor], seed: int, shot: Shot, steps: int) -> Tensor:
    latents: Tensor = pipeline(
        **embeds,
        **shot._asdict(),
        num_inference_steps=steps,
        max_sequence_length=pipeline.tokenizer.model_max_length,
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="latent",
    ).frames
    return latents
