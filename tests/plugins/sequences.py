"""Randomly initialised discrete checkpoints, built offline: whole SeddPipeline folders of a few hundred kB.

`letters`: text of up to 32 characters.   `voices`: one bar of four voices.   `coin`: one token of two.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary
from tests.plugins.once import models_in

_SEED = 20_261_124


@dataclass(frozen=True)
class SequenceRecipe:
    """What sets one tiny checkpoint apart from another."""

    vocabulary: CharacterVocabulary | ChoraleVocabulary
    length: int
    steps: int = 8


LETTERS = SequenceRecipe(CharacterVocabulary(characters="abcdefghij \n"), length=32)
VOICES = SequenceRecipe(ChoraleVocabulary(lowest=48, highest=76, steps=16), length=64)
COIN = SequenceRecipe(CharacterVocabulary(characters="ab"), length=1)


def build_sequences(folder: Path, recipe: SequenceRecipe) -> Path:
    """Save a randomly initialised SeddPipeline and its `rheostat.json`; same weights every time."""
    import torch

    from workers.models.sedd_modules import SEDD, SeddConfig
    from workers.models.sedd_pipeline import SeddPipeline

    config = SeddConfig(
        tokens=recipe.vocabulary.size,
        length=recipe.length,
        hidden_size=64,
        cond_dim=32,
        n_blocks=2,
        n_heads=2,
        positions=isinstance(recipe.vocabulary, ChoraleVocabulary),
        parameterization="leave_one_out",
    )
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        network = SEDD(config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    noise = {"_class_name": "LogLinearNoise", "eps": 1e-3}
    SeddPipeline(network.eval(), recipe.vocabulary, noise).save_pretrained(folder)
    settings = {"defaults": {"num_inference_steps": recipe.steps}}
    (folder / "rheostat.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def sequence_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with all three."""
    root = tmp_path_factory.mktemp("sequences")
    for name, recipe in {"letters": LETTERS, "voices": VOICES, "coin": COIN}.items():
        build_sequences(root / name, recipe)
    return root


@pytest.fixture(scope="session")
def load_sequences(sequence_root: Path) -> Callable[..., Any]:
    """Factory: `load_sequences("letters", "float32")`; each pair is loaded once a session."""
    return models_in(sequence_root, "letters")
