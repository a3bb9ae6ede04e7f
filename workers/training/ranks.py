"""The transformer stage as one process a rank, a thread each, joined by gloo through a file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from workers.training.fast_attention import use_product_attention
from workers.training.flux_tiny import FluxTinyTrainee
from workers.training.pipeline_folder import TextToLatent, build_tokenizers
from workers.training.pool import load_pool, tokenise
from workers.training.resumable import Checkpoints, Deadline, run, step_seed
from workers.training.settings import FluxTinySettings


def train_transformer(settings: FluxTinySettings, work: Path, deadline: Deadline) -> bool:
    """Run all ranks to the end or the deadline; the process group's id is left in `train.pid`."""
    (work / "train.pid").write_text(str(os.getpgrp()))
    meeting = work / f"meeting-{os.getpid()}"
    arguments = (settings, work, deadline.minutes_left(), meeting)
    spawn(_rank, args=arguments, nprocs=settings.transformer.ranks)  # type: ignore[no-untyped-call]
    meeting.unlink(missing_ok=True)
    return _checkpoints(settings, work, 0).latest() >= settings.transformer.num_steps


def _checkpoints(settings: FluxTinySettings, work: Path, rank: int) -> Checkpoints:
    transformer = settings.transformer
    # The end of the plateau is kept for good: a later session may raise `num_steps` and go on from there.
    plateau = transformer.num_steps - max(transformer.decay_steps, transformer.guided_steps)
    return Checkpoints(work, "transformer", rank, transformer.ranks, frozenset({plateau}))


def _rank(rank: int, settings: FluxTinySettings, work: Path, minutes: float | None, meeting: Path) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    ranks = settings.transformer.ranks
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    tokenizers = build_tokenizers()
    torch.manual_seed(step_seed("flux-tiny-weights", settings.seed))
    model = TextToLatent(*tokenizers)
    use_product_attention(model.transformer)
    if settings.transformer.compiled:
        model.transformer.compile_repeated_blocks(fullgraph=True)
    trainee = FluxTinyTrainee(
        settings.transformer,
        settings.seed,
        model,
        load_pool(work / "pool.npy", *tokenizers),
        tokenise([""], *tokenizers),
        rank=rank,
    )
    run(trainee, _checkpoints(settings, work, rank), Deadline(minutes))
    distributed.destroy_process_group()
