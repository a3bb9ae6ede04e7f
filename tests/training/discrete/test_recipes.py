"""Both recipes at next to no size: resumed bit for bit, a folder that loads, figures at the end."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from tests.training.resuming import resumed_and_through
from workers.models import load
from workers.training.chorales import load_windows
from workers.training.discrete.language_judge import LanguageJudgeTrainee
from workers.training.discrete.settings import (
    ChoraleSettings,
    ChoraleTinySettings,
    LanguageJudgeSettings,
    SampleSettings,
    SeddSettings,
    TextSettings,
    TextTinySettings,
)
from workers.training.discrete.sources import ChoraleSource, TextSource
from workers.training.discrete.trainee import Denoiser, DiscreteTrainee
from workers.training.optimisers import hidden_matrices
from workers.training.recipes import train
from workers.training.resumable import Trainee
from workers.training.texts import TextCorpus

TEXT = 'a small thing; "he saw it"\nthe act of seeing (or not seeing) a small thing\n' * 8
SMALL: dict[str, Any] = {
    "num_steps": 4,
    "warmup_steps": 1,
    "decay_steps": 2,
    "batch": 4,
    "ranks": 1,
    "hidden_size": 32,
    "cond_dim": 32,
    "n_blocks": 1,
    "n_heads": 2,
}
SAMPLES = SampleSettings(num_samples=4, evaluations=2, batch=2, draws=10)


def text_trainee() -> Trainee:
    return DiscreteTrainee(TextSettings(**SMALL, dropout=0.1), "text", 3, TextSource(TextCorpus.of(TEXT)))


def score_trainee() -> Trainee:
    settings = TextSettings(**SMALL, parameterization="score", loss="score_entropy")
    return DiscreteTrainee(settings, "text", 3, TextSource(TextCorpus.of(TEXT)))


def chorale_trainee() -> Trainee:
    return DiscreteTrainee(ChoraleSettings(**SMALL), "chorale", 3, ChoraleSource(load_windows("heldout")))


def judge_trainee() -> Trainee:
    settings = LanguageJudgeSettings(num_steps=4, batch=2)
    return LanguageJudgeTrainee(settings, 3, TextCorpus.of(TEXT))


@pytest.mark.parametrize("build", [text_trainee, score_trainee, chorale_trainee, judge_trainee])
def test_stopped_and_resumed_equals_run_through(build: Callable[[], Trainee], tmp_path: Path) -> None:
    resumed, through = resumed_and_through(build, tmp_path)
    pairs = list(zip(tree_leaves(resumed), tree_leaves(through), strict=True))
    tensors = [pair for pair in pairs if isinstance(pair[0], torch.Tensor)]
    assert len(tensors) > 10
    assert all(torch.equal(left, right) for left, right in tensors)


def test_ranks_take_slices_of_one_batch() -> None:
    """Without dropout the mean of two ranks' first losses is one rank's, when nothing is given."""
    settings = {**SMALL, "given_share": 0.0}
    source = TextSource(TextCorpus.of(TEXT))
    whole = DiscreteTrainee(TextSettings(**settings), "text", 3, source)._loss_of(0)
    halves = [
        DiscreteTrainee(TextSettings(**{**settings, "ranks": 2}), "text", 3, source, rank=rank)._loss_of(0)
        for rank in (0, 1)
    ]
    assert torch.allclose(whole, (halves[0] + halves[1]) / 2)


def test_the_loss_falls() -> None:
    """60 steps on a text of two lines, from log 49 = 3.9 nats over noised and clean characters alike."""
    settings = TextSettings(**{**SMALL, "num_steps": 60, "batch": 8, "adam_rate": 1e-2, "muon_rate": 1e-2})
    trainee = DiscreteTrainee(settings, "text", 3, TextSource(TextCorpus.of(TEXT)))
    losses = [trainee.step(index) for index in range(60)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_blocks_matrices_are_muon_s() -> None:
    """Two of attention and two of the feed-forward a block; modulations are not among them."""
    assert len(hidden_matrices(Denoiser(SeddSettings(**SMALL), 49, 128))) == 4


def test_reference_sizes() -> None:
    """1.9 M parameters each, as the card says."""
    for settings, vocabulary, length in ((TextSettings(), 49, 128), (ChoraleSettings(), 48, 256)):
        count = sum(each.numel() for each in Denoiser(settings, vocabulary, length).parameters())
        assert count == pytest.approx(1.9e6, rel=0.03)


def test_spans_and_voices_are_given() -> None:
    generator = torch.Generator().manual_seed(0)
    spans = TextSource(TextCorpus.of(TEXT)).given(200, generator)
    assert int(spans.sum(1).min()) >= 16
    assert int(spans.sum(1).max()) <= 96
    assert ((spans[:, 1:] != spans[:, :-1]).sum(1) <= 2).all()  # one span a row
    assert 0.3 < float(spans[:, 0].float().mean()) < 0.7
    voices = ChoraleSource(load_windows("heldout")).given(200, generator).unflatten(1, (4, 64))
    soprano = torch.tensor([True, False, False, False])
    alone = (voices.all(2) == soprano).all(1) & (voices.any(2) == soprano).all(1)
    assert 0.4 < float(alone.float().mean()) < 0.75


def test_text_tiny_stopped_at_every_turn_ends_with_a_measured_folder(tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    (cache / "texts").mkdir(parents=True)
    for split in ("train", "judge"):
        (cache / "texts" / f"{split}.txt.xz").write_bytes(lzma.compress(TEXT.encode()))
    settings = TextTinySettings(
        judge=LanguageJudgeSettings(num_steps=2, batch=2),
        transformer=TextSettings(**{**SMALL, "num_steps": 2}),
        evaluation=SAMPLES,
    )
    for minutes in (0.0, 0.0, 0.0, None):
        done = train("text-tiny", cache=cache, out=out, settings=settings, max_minutes=minutes)
        assert done == (minutes is None)
    report = json.loads((cache / "text-tiny" / "evaluation.json").read_text())
    assert set(report["ngram_2"]) == {"generated", "real"}
    assert set(report["nats"]) == set(report["entropy"]) == {"generated", "real", "reference"}
    assert {path.name for path in out.iterdir()} == {"judges", "text-tiny"}
    model: Any = load(out / "text-tiny", dtype="float32")
    assert (model.vocabulary.size, model.catalog.defaults.length) == (49, 128)
    assert model.scheduler_config == {"_class_name": "LogLinearNoise", "eps": 1e-3}


def test_chorale_tiny_ends_with_a_measured_folder(tmp_path: Path) -> None:
    settings = ChoraleTinySettings(
        transformer=ChoraleSettings(**{**SMALL, "num_steps": 2}), evaluation=SAMPLES
    )
    assert train("chorale-tiny", cache=tmp_path / "cache", out=tmp_path / "out", settings=settings)
    report = json.loads((tmp_path / "cache" / "chorale-tiny" / "evaluation.json").read_text())
    assert set(report["interval"]) == {"free", "harmonised", "real"}
    assert report["chord"]["reference"]["estimate"] > 0.6
    model: Any = load(tmp_path / "out" / "chorale-tiny", dtype="float32")
    assert model.catalog.defaults.length == 256
    assert (model.catalog.modality, model.token_grid(256).height) == ("music", 4)
