"""What a rank needs to train a stage: teacher, student, clips, all made from files, as each process must."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file
from torch import Tensor

from protocol.shapes import WanShapes
from workers.core.pare_router import DepthRouter
from workers.models import load
from workers.models.declaration import require_flow
from workers.models.pare import Pare, build_router
from workers.models.wan import Wan
from workers.models.wan_network import WanNetwork
from workers.training.pare.routing import Chooser
from workers.training.pare.settings import PareSettings, StageSettings
from workers.training.pare.sharding import joined, shard_blocks
from workers.training.pare.slicing import build_student
from workers.training.pare.sources import ClipSource, ShardSource, Source
from workers.training.pare.trainee import Lesson, Student, StudentTrainee
from workers.training.resumable import Checkpoints, Trainee
from workers.training.video.pool import load_pool

Stage = Literal["distil", "route"]
PARE_STATE, PRUNED_STATE, ROUTER_STATE = "pare.json", "pruned.safetensors", "router.safetensors"
"""In a recipe's folder: what is kept, the weights before training, the router before training."""


@dataclass(frozen=True)
class Order:
    """What every rank's process is told.

    Attributes:
        teacher: its pipeline folder.
        clips: a pool's .npy, or a folder of shards.
    """

    settings: PareSettings
    teacher: Path
    clips: Path
    stage: Stage


def load_teacher(folder: Path, settings: PareSettings) -> Wan:
    """The teacher, without gradients.

    Raises:
        ValueError: it is no Wan 2.1, pruned itself, or predicts something else than the flow.
    """
    require_flow(folder)
    model = load(folder, device=settings.device, dtype=settings.dtype)
    if not isinstance(model, Wan) or _shapes(model).pare is not None:
        raise ValueError(f"{folder} must be an unpruned WanPipeline")
    for module in (model.pipeline.transformer, model.pipeline.text_encoder, model.pipeline.vae):
        module.requires_grad_(False)
    return model


def open_source(clips: Path, teacher: Wan) -> Source:
    """The shards of a folder, or a pool of sprites whose latents are whitened as the teacher says."""
    if clips.is_dir():
        return ShardSource(clips)
    pipeline = teacher.pipeline
    pool, vae = load_pool(clips, pipeline.tokenizer), pipeline.vae.config
    return ClipSource(replace(pool, mean=list(vae.latents_mean), deviation=list(vae.latents_std)), pipeline)


def shift_of(teacher: Wan) -> float:
    """The static shift of the teacher's noise levels."""
    config = teacher.pipeline.scheduler.config
    return float(config["flow_shift"] if "flow_shift" in config else config["shift"])


def student_network(transformer: Any, teacher: Wan, pare: Pare) -> WanNetwork:
    """The network over a student's transformer."""
    return WanNetwork(transformer, _shapes(teacher).model_copy(update={"pare": pare.shape}))


def settings_of(settings: PareSettings, stage: Stage) -> StageSettings:
    """The stage's own."""
    return settings.distil if stage == "distil" else settings.route


def states_of(settings: PareSettings, work: Path, stage: Stage) -> Checkpoints:
    """The stage's training states."""
    return Checkpoints(work, stage, ranks=settings_of(settings, stage).ranks)


def stage_rank(order: Order, work: Path, rank: int) -> Trainee:
    """A rank of a stage."""
    settings, stage = order.settings, order.stage
    teacher = load_teacher(order.teacher, settings)
    pare = Pare.model_validate_json((work / PARE_STATE).read_bytes())
    transformer = build_student(teacher.pipeline.transformer.config, pare)
    transformer.load_state_dict(starting_weights(settings, work, stage))
    router = starting_router(pare, work, settings) if stage == "route" else None
    network = student_network(transformer.to(settings.device), teacher, pare)
    if sharded := settings.sharding == "fsdp":
        shard_blocks(transformer, teacher.dtype)
    lesson = Lesson(
        teacher=teacher.network,
        student=network,
        source=open_source(order.clips, teacher),
        shift=shift_of(teacher),
        losses=settings.losses,
        sharded=sharded,
        device=settings.device,
        dtype=teacher.dtype,
    )
    model = Student(transformer, None if router is None else router.to(settings.device))
    chooser = chooser_of(pare, settings, model.router) if stage == "route" else all_blocks(pare)
    return StudentTrainee(
        stage, settings_of(settings, stage), settings.seed, model, lesson=lesson, chooser=chooser, rank=rank
    )


def starting_weights(settings: PareSettings, work: Path, stage: Stage) -> dict[str, Tensor]:
    """Where a stage's transformer begins: as it was pruned, or as the first stage left it."""
    if stage == "distil" or not settings.distil.num_steps:
        return load_file(work / PRUNED_STATE)
    weights, _ = trained_weights(settings, work, "distil")
    return weights


def trained_weights(
    settings: PareSettings, work: Path, stage: Stage
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The averaged weights of the stage's newest state: the transformer's, and the router's (or none)."""
    states = states_of(settings, work, stage)
    step = states.latest()
    parts = [
        replace(states, rank=rank).load(step)["average"]
        for rank in (range(states.ranks) if settings.sharding == "fsdp" else (0,))
    ]
    whole = load_file(work / PRUNED_STATE)
    own = [_under("transformer.", part) for part in parts]
    return joined(own, whole), _under("router.", parts[0])


def starting_router(pare: Pare, work: Path, settings: PareSettings) -> DepthRouter | None:
    """The router before training; that of fixed blocks is not trained at all."""
    if pare.router is None:
        return None
    router = build_router(pare.router, len(pare.blocks))
    router.load_state_dict(load_file(work / ROUTER_STATE))
    return router.requires_grad_(settings.router != "static")


def chooser_of(pare: Pare, settings: PareSettings, router: DepthRouter | None) -> Chooser:
    """The recipe's own way of choosing blocks."""
    return Chooser(settings.router, len(pare.blocks), pare.least_blocks, pare.most_blocks, router)


def all_blocks(pare: Pare) -> Chooser:
    """Chooses all."""
    count = len(pare.blocks)
    return Chooser("none", count, count, count)


def _shapes(model: Wan) -> WanShapes:
    assert isinstance(model.catalog.shapes, WanShapes), "the family's own"
    return model.catalog.shapes


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
