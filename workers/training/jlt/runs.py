"""An arm from its first step to its samples, and all arms, a few at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from workers.training.jlt.frozen import Frozen
from workers.training.jlt.latents import LatentPool, unique_scenes
from workers.training.jlt.sampling import Sampler
from workers.training.jlt.settings import Arm, JltSettings
from workers.training.jlt.trainee import JltTrainee
from workers.training.resumable import Checkpoints, Deadline, run


@dataclass(frozen=True)
class Order:
    """What every process is told.

    Attributes:
        work: where the pool is and the arms' folders go.
        flux_tiny: the folder whose autoencoder and text encoders are used.
    """

    settings: JltSettings
    work: Path
    flux_tiny: Path
    minutes: float | None


def pool_path(work: Path) -> Path:
    """Where the encoded scenes are."""
    return work / "pool.safetensors"


def samples_path(work: Path, arm: Arm, step: int, weight: float) -> Path:
    """The pictures (N, 64, 64, 3) uint8 that an arm made after so many steps under this guidance."""
    return work / arm.name / f"{step:06d}-w{weight:g}.npy"


def states_of(settings: JltSettings, work: Path, arm: Arm) -> Checkpoints:
    """The arm's states; those of milestones are kept."""
    return Checkpoints(work / arm.name, "run", milestones=frozenset(settings.training.milestones))


def wanted(settings: JltSettings) -> list[tuple[int, float]]:
    """(step, guidance) of everything that is drawn from an arm."""
    sampling, milestones = (
        settings.sampling,
        sorted({*settings.training.milestones, settings.training.num_steps}),
    )
    return [
        *((step, sampling.guidance) for step in milestones),
        *((milestones[-1], weight) for weight in sampling.sweep),
    ]


def run_all(order: Order) -> bool:
    """Run every arm that is not done, `processes` at a time; True when all are."""
    processes = order.settings.processes
    if processes == 1:
        _share(0, order)
    else:
        spawn(_share, args=(order,), nprocs=processes)  # type: ignore[no-untyped-call]
    return all(is_done(order.settings, order.work, arm) for arm in order.settings.arms)


def is_done(settings: JltSettings, work: Path, arm: Arm) -> bool:
    """Whether all of the arm's samples are there."""
    return all(samples_path(work, arm, *each).exists() for each in wanted(settings))


def _share(place: int, order: Order) -> None:
    """Every so-maniest arm, so that both targets of a pair run side by side."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    deadline, frozen = Deadline(order.minutes), Frozen(order.flux_tiny)
    pool = LatentPool.read(pool_path(order.work))
    for arm in order.settings.arms[place :: order.settings.processes]:
        if not is_done(order.settings, order.work, arm) and not run_arm(order, arm, frozen, pool, deadline):
            return


def run_arm(order: Order, arm: Arm, frozen: Frozen, pool: LatentPool, deadline: Deadline) -> bool:
    """Train the arm, then draw from its milestones; False when the deadline came first."""
    settings = order.settings
    trainee, states = JltTrainee(settings, arm, pool), states_of(settings, order.work, arm)
    print("arm", arm.name, flush=True)
    if not run(trainee, states, deadline):
        return False
    texts = held_out_texts(frozen, settings)
    sampler = Sampler(trainee.model, arm, trainee.frame, pool, settings.sampling)
    for step, weight in wanted(settings):
        path = samples_path(order.work, arm, step, weight)
        if path.exists():
            continue
        if deadline.passed():
            return False
        trainee.model.load_state_dict(states.load(step)["average"])
        _write(path, frozen, sampler.draw(texts, weight), settings.sampling.batch)
    return True


def held_out_texts(frozen: Frozen, settings: JltSettings) -> tuple[Tensor, Tensor]:
    """Of the captions samples are drawn for."""
    sampling = settings.sampling
    scenes = unique_scenes(sampling.num_images, sampling.seed, "heldout", settings.pool.kinds)
    return frozen.texts([scene.caption for scene in scenes])


def _write(path: Path, frozen: Frozen, latents: Tensor, batch: int) -> None:
    images = [np.asarray(image) for part in torch.split(latents, batch) for image in frozen.images(part)]
    partial = path.with_suffix(".partial.npy")
    np.save(partial, np.stack(images))
    partial.rename(path)
