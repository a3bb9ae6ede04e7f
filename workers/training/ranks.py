"""A stage as one process a rank, a thread each, joined by gloo through a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from workers.training.fast_attention import use_product_attention
from workers.training.flux_tiny import FluxTinyTrainee
from workers.training.pipeline_folder import TextToLatent, build_tokenizers
from workers.training.pool import load_pool, tokenise
from workers.training.resumable import Checkpoints, Deadline, Trainee, run, step_seed
from workers.training.settings import DenoiserSettings, FluxTinySettings

Build = Callable[[Any, Path, int], Trainee]
"""(settings, folder of the stage's states, rank) -> what that rank trains; a function of a module."""


@dataclass(frozen=True)
class _Order:
    """What every rank's process is told; `meeting` is the file through which they find each other."""

    build: Build
    settings: Any
    checkpoints: Checkpoints
    minutes: float | None
    meeting: Path


def train_transformer(settings: FluxTinySettings, work: Path, deadline: Deadline) -> bool:
    """Train the transformer of `flux-tiny`; True when all its steps are done."""
    transformer = settings.transformer
    checkpoints = transformer_checkpoints(transformer, work)
    return train_in_ranks(_flux_tiny, settings, checkpoints, transformer.num_steps, deadline)


def train_in_ranks(
    build: Build, settings: Any, checkpoints: Checkpoints, num_steps: int, deadline: Deadline
) -> bool:
    """Run `checkpoints.ranks` processes to the end or the deadline; their group's id is left in `train.pid`.

    One rank needs no process of its own.

    Returns:
        True when all ranks have done all `num_steps`.
    """
    if checkpoints.latest() >= num_steps:
        return True
    work = checkpoints.folder
    if checkpoints.ranks == 1:
        return run(build(settings, work, 0), checkpoints, deadline)
    work.mkdir(parents=True, exist_ok=True)
    (work / "train.pid").write_text(str(os.getpgrp()))
    meeting = work / f"meeting-{os.getpid()}"
    order = _Order(build, settings, checkpoints, deadline.minutes_left(), meeting)
    spawn(_rank, args=(order,), nprocs=checkpoints.ranks)  # type: ignore[no-untyped-call]
    meeting.unlink(missing_ok=True)
    return checkpoints.latest() >= num_steps


def transformer_checkpoints(transformer: DenoiserSettings, work: Path) -> Checkpoints:
    """The states of a transformer stage, rank 0's."""
    # The end of the plateau is kept for good: a later session may raise `num_steps` and go on from there.
    milestones = frozenset({transformer.plateau, *transformer.milestones})
    return Checkpoints(work, "transformer", ranks=transformer.ranks, milestones=milestones)


def _rank(rank: int, order: _Order) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    ranks = order.checkpoints.ranks
    distributed.init_process_group("gloo", init_method=f"file://{order.meeting}", rank=rank, world_size=ranks)
    trainee = order.build(order.settings, order.checkpoints.folder, rank)
    run(trainee, replace(order.checkpoints, rank=rank), Deadline(order.minutes))
    distributed.destroy_process_group()


def _flux_tiny(settings: FluxTinySettings, work: Path, rank: int) -> Trainee:
    tokenizers = build_tokenizers()
    torch.manual_seed(step_seed("flux-tiny-weights", settings.seed))
    model = TextToLatent(*tokenizers)
    use_product_attention(model.transformer)
    if settings.transformer.compiled:
        model.transformer.compile_repeated_blocks(fullgraph=True)
    return FluxTinyTrainee(
        settings.transformer,
        settings.seed,
        model,
        load_pool(work / "pool.npy", *tokenizers),
        tokenise([""], *tokenizers),
        rank=rank,
    )
