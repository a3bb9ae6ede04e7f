"""The whole recipe at next to no size: stopped at every turn, a folder and its figures at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workers.training.recipes import train
from workers.training.video.settings import (
    ClipPoolSettings,
    ClipReaderSettings,
    EvaluationSettings,
    WanAutoencoderSettings,
    WanTinySettings,
    WanTransformerSettings,
)

NEXT_TO_NOTHING = WanTinySettings(
    gate_clips=4,
    gate_share=0.0,
    ranks=1,
    judge=ClipReaderSettings(num_steps=2, batch=8),
    autoencoder=WanAutoencoderSettings(frame_steps=1, frame_batch=4, clip_steps=1, clip_batch=2),
    pool=ClipPoolSettings(num_scenes=8, batch=4),
    transformer=WanTransformerSettings(
        num_steps=2, warmup_steps=1, decay_steps=1, guided_steps=1, batch=4, ranks=1
    ),
    evaluation=EvaluationSettings(num_clips=4, num_inference_steps=2, batch=2),
)


def test_stopped_at_every_turn_it_ends_with_a_measured_folder(tmp_path: Path) -> None:
    """Without any time left a call ends after one step; the last one has no limit."""
    cache, out = tmp_path / "cache", tmp_path / "out"
    for minutes in (0.0, 0.0, 0.0, 0.0, None):
        done = train("wan-tiny", cache=cache, out=out, settings=NEXT_TO_NOTHING, max_minutes=minutes)
        assert done == (minutes is None)
    report = json.loads((cache / "wan-tiny" / "evaluation.json").read_text())
    assert {"real", "reconstructed", "generated"} <= set(report)
    assert report["real"]["direction"] == 1.0
    assert {path.name for path in out.iterdir()} == {"judges", "wan-tiny"}


def test_unknown_recipes_and_stages_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is: flux-tiny, wan-tiny"):
        train("wan-huge", cache=tmp_path, out=tmp_path)
    with pytest.raises(ValueError, match="judge, autoencoder, gate, pool, transformer, export, evaluation"):
        train("wan-tiny", cache=tmp_path, out=tmp_path, until="lunch")
