"""A recipe stopped and started again ends with the very weights of one that ran through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from tests.training.resuming import resumed_and_through
from workers.training.architecture import SIGMA_SHIFT
from workers.training.autoencoder import AutoencoderTrainee
from workers.training.flow_matching import sample_sigma
from workers.training.flux_tiny import FluxTinyTrainee
from workers.training.judge_training import JudgeTrainee
from workers.training.optimisers import hidden_matrices, limit_outliers, rate_share, split_evenly
from workers.training.pipeline_folder import TextToLatent, build_tokenizers
from workers.training.pool import Pool, pack, tokenise
from workers.training.ranks import transformer_checkpoints
from workers.training.resumable import Checkpoints, Deadline, Trainee, run
from workers.training.settings import AutoencoderSettings, JudgeSettings, TransformerSettings

CAPTIONS = ["two apples on a blue background", "a cat above a hat on a red background"]


def judge_trainee() -> Trainee:
    return JudgeTrainee(JudgeSettings(num_steps=4, batch=4), "main", seed=3)


def autoencoder_trainee() -> Trainee:
    return AutoencoderTrainee(AutoencoderSettings(num_steps=4, batch=1), seed=3)


def flux_trainee() -> Trainee:
    torch.manual_seed(0)
    tokenizers = build_tokenizers()
    latents = np.random.default_rng(0).normal(size=(2, 8, 16, 16)).astype(np.float16)
    settings = TransformerSettings(
        num_steps=4, warmup_steps=1, decay_steps=2, guided_steps=2, batch=4, ranks=1, compiled=False
    )
    pool = Pool(latents, 1.0, 0.0, tokenise(CAPTIONS, *tokenizers))
    return FluxTinyTrainee(settings, 3, narrow_model(*tokenizers), pool, tokenise([""], *tokenizers))


def narrow_model(*tokenizers: Any) -> TextToLatent:
    """Muon works in bfloat16: at full width a step takes seconds on a CPU without units for it."""
    model = TextToLatent(*tokenizers)
    config = dict(model.transformer.config) | {"num_attention_heads": 2}
    model.transformer = FluxTransformer2DModel.from_config(config)
    return model


def leaves(state: dict[str, Any]) -> list[torch.Tensor]:
    tensors = []
    for value in state.values():
        if isinstance(value, dict):
            tensors += leaves(value)
        elif isinstance(value, torch.Tensor):
            tensors.append(value)
    return tensors


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("build", [judge_trainee, autoencoder_trainee, flux_trainee])
def test_stopped_and_resumed_equals_run_through(build: Callable[[], Trainee], tmp_path: Path) -> None:
    """Each trainee builds its own tokenizers: ids that changed between builds were once found here."""
    resumed, through = resumed_and_through(build, tmp_path)
    ours, theirs = leaves(resumed), leaves(through)
    assert len(ours) == len(theirs) > 10
    assert all(torch.equal(left, right) for left, right in zip(ours, theirs, strict=True))


def test_deadline_stops_after_a_step_and_keeps_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "stage")
    assert not run(judge_trainee(), checkpoints, Deadline(0.0))
    assert checkpoints.latest() == 1


def test_ranks_go_on_from_the_newest_step_all_have(tmp_path: Path) -> None:
    first, second = (Checkpoints(tmp_path, "stage", rank, 2, frozenset({1})) for rank in (0, 1))
    for step in (1, 2, 3):
        first.save(step, {})
        second.save(step, {})
    first.save(4, {})  # killed before rank 1 saved step 4
    assert first.latest() == second.latest() == 3
    assert {path.name for path in tmp_path.glob("*rank0*")} == {
        "stage-rank0-000001.pt",  # a milestone stays
        "stage-rank0-000003.pt",
        "stage-rank0-000004.pt",
    }


def test_states_asked_for_outlive_the_run(tmp_path: Path) -> None:
    """The plateau's end, 10 - 4, is kept as well: a longer run goes on from there."""
    settings = TransformerSettings(
        num_steps=10, decay_steps=4, guided_steps=2, ranks=1, milestones=(2,), compiled=False
    )
    checkpoints = transformer_checkpoints(settings, tmp_path)
    for step in range(1, 11):
        checkpoints.save(step, {})
    kept = {int(path.stem.rpartition("-")[2]) for path in tmp_path.iterdir()}
    assert kept == {2, 6, 9, 10}


def test_rates_warm_up_hold_and_fall_to_zero() -> None:
    """10 steps, 2 warming, 4 falling: index 0 has 1/2, 1 to 6 have 1, the last has 1/4."""
    settings = TransformerSettings(num_steps=10, warmup_steps=2, decay_steps=4)
    shares = [rate_share(index, settings) for index in range(10)]
    assert shares == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_an_outlier_is_cut_to_twice_the_length_remembered() -> None:
    """(3, 4) is remembered as 5 long: (60, 80) becomes (6, 8); what is shorter, or the first, stays."""
    parameter = nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.AdamW([parameter], lr=0.1)

    def limited(*gradient: float) -> list[float]:
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        limit_outliers(optimiser, 2.0)
        return parameter.grad.tolist()

    assert limited(3, 4) == [3, 4]
    optimiser.step()
    assert limited(60, 80) == pytest.approx([6, 8], rel=1e-4)
    assert limited(0, 9.9) == pytest.approx([0, 9.9])


def test_matrices_are_dealt_out_once_and_evenly() -> None:
    matrices = hidden_matrices(TextToLatent(*build_tokenizers()))
    shares = split_evenly(matrices, 2)
    assert sorted(map(id, shares[0] + shares[1])) == sorted(map(id, matrices))
    sizes = [sum(each.numel() for each in share) for share in shares]
    assert max(sizes) / min(sizes) < 1.05


def test_noise_levels_are_between_zero_and_one_and_shifted_up() -> None:
    sigma = sample_sigma(4096, torch.Generator().manual_seed(0), SIGMA_SHIFT)
    assert 0 < float(sigma.min()) < float(sigma.max()) < 1
    assert float(sigma.median()) > 0.6  # the shift of 2 moves the median from 1/2 to 2/3


def test_packing_is_flux_pipeline_s() -> None:
    from diffusers import FluxPipeline

    latents = torch.arange(2 * 8 * 16 * 16, dtype=torch.float32).view(2, 8, 16, 16)
    assert torch.equal(pack(latents), FluxPipeline._pack_latents(latents, 2, 8, 16, 16))
