"""Released caches on a tiny random FLUX: what runs is counted, nothing leaks into the next sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.quality_vs_compute.peers import NAMES, Peer, counted, full_flop, mag_ratios, run
from tests.protocol.counting import count_flop
from workers.sampling import initial_noise

STEPS = 6
CAPTIONS, SEEDS = ["two blue dogs", "the sun"], [3, 4]
SETTINGS: dict[str, dict[str, Any]] = {
    "first_block": {"threshold": 10.0},
    "taylorseer_attention": {"cache_interval": 2, "disable_cache_before_step": 2},
    "taylorseer_modules": {"cache_interval": 2, "disable_cache_before_step": 2},
    "taylorseer_lite": {"cache_interval": 2, "disable_cache_before_step": 2},
    "magcache": {"threshold": 10.0, "max_skip_steps": 2, "retention_ratio": 0.2},
    "dbcache": {"Fn_compute_blocks": 1, "residual_diff_threshold": 10.0, "max_warmup_steps": 2},
    "dbcache_taylor": {
        "Fn_compute_blocks": 1,
        "residual_diff_threshold": 10.0,
        "max_warmup_steps": 2,
        "taylorseer_order": 1,
    },
    "dbprune": {"Fn_compute_blocks": 1, "residual_diff_threshold": 10.0, "max_warmup_steps": 2},
}

Reference = Callable[..., Any]


def plain(pipeline: Any, index: int) -> Tensor:
    latents: Tensor = pipeline(
        CAPTIONS[index],
        height=64,
        width=64,
        num_inference_steps=STEPS,
        max_sequence_length=pipeline.tokenizer_2.model_max_length,
        generator=torch.Generator().manual_seed(SEEDS[index]),
        output_type="latent",
    ).images
    return latents


@pytest.fixture(params=list(SETTINGS))
def peer(request: pytest.FixtureRequest) -> Peer:
    return Peer(request.param, SETTINGS[request.param])


def test_every_peer_is_tried_here() -> None:
    assert set(NAMES) == {"plain", *SETTINGS}


def test_plain_equals_the_pipeline_bit_for_bit(reference_pipeline: Reference) -> None:
    pipeline = reference_pipeline("plain", "float32")
    runs = run(pipeline, Peer("plain"), CAPTIONS, SEEDS, steps=STEPS)
    assert [each.share for each in runs] == [1.0, 1.0]
    assert all(torch.equal(each.latents, plain(pipeline, index)) for index, each in enumerate(runs))


def test_noise_is_the_engines(reference_pipeline: Reference) -> None:
    """The pipeline's own first draw, before it is packed."""
    pipeline = reference_pipeline("plain", "float32")
    channels = pipeline.transformer.config.in_channels // 4
    drawn, _ = pipeline.prepare_latents(
        1, channels, 64, 64, torch.float32, torch.device("cpu"), torch.Generator("cpu").manual_seed(9)
    )
    noise = initial_noise((1, channels, 16, 16), 9, torch.float32, torch.device("cpu"))
    assert torch.equal(drawn, pipeline._pack_latents(noise, *noise.shape))


def test_samples_do_not_meet_and_the_pipeline_is_untouched(reference_pipeline: Reference, peer: Peer) -> None:
    """Two samples together are what each is alone; afterwards the plain pipeline is the plain pipeline."""
    pipeline = reference_pipeline("plain", "float32")
    call, before = type(pipeline).__call__, plain(pipeline, 0)
    together = run(pipeline, peer, CAPTIONS, SEEDS, steps=STEPS)
    alone = run(pipeline, peer, CAPTIONS[1:], SEEDS[1:], steps=STEPS)
    assert torch.equal(together[1].latents, alone[0].latents)
    assert together[1].share == alone[0].share < 1
    assert not torch.equal(together[0].latents, before)
    assert torch.equal(plain(pipeline, 0), before)
    assert type(pipeline).__call__ is call


def test_count_is_flop_counter_modes(reference_pipeline: Reference, peer: Peer) -> None:
    """Both watch the same run; FlopCounterMode's attention is the one the cost tests use."""
    pipeline = reference_pipeline("plain", "float32")
    full, runs = full_flop(pipeline, STEPS), []

    def watched() -> None:
        runs.extend(run(pipeline, peer, CAPTIONS[:1], SEEDS[:1], steps=STEPS))

    mag_ratios(pipeline, STEPS)
    encoding = count_flop(lambda: pipeline.encode_prompt(CAPTIONS[0], None, max_sequence_length=16))
    assert count_flop(watched) - encoding == pytest.approx(runs[0].share * full, rel=1e-3)


def test_counting_ends_with_its_block() -> None:
    linear = torch.nn.Linear(3, 5)
    with counted() as counter:
        linear(torch.ones(2, 3))
    linear(torch.ones(2, 3))
    assert counter.flop == 2 * 2 * 3 * 5


def test_mag_ratios_start_at_one_and_have_one_a_step(reference_pipeline: Reference) -> None:
    ratios = mag_ratios(reference_pipeline("plain", "float32"), STEPS)
    assert len(ratios) == STEPS
    assert ratios[0] == 1
    assert all(0 < each < 10 for each in ratios)


def test_unknown_peer_is_refused_by_name(reference_pipeline: Reference) -> None:
    with pytest.raises(ValueError, match="no peer tortoise; known: plain, first_block"):
        run(reference_pipeline("plain", "float32"), Peer("tortoise"), CAPTIONS, SEEDS, steps=STEPS)
