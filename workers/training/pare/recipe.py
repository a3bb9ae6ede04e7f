"""`rheostat train pare --teacher wan-tiny`: stages that each go on from where they stopped.

clips -> calibrate -> prune -> distil -> route -> export -> roles -> evaluation

What is measured on the teacher is shared by the student and its controls; everything else is in a folder of
their own, which a teacher of other weights does not share. See decision 0010 for what the paper leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from workers.core.pare_router import DepthRouter
from workers.models.folder import digest_of
from workers.models.loading import load, locate
from workers.models.pare import Pare, RouterShape, load_router
from workers.models.wan import Wan
from workers.training.clips import unique_clips
from workers.training.pare.calibration import Calibration, calibrate
from workers.training.pare.evaluation import RoutedTransformer, compute_share
from workers.training.pare.pruning import select
from workers.training.pare.roles import roles_report, teacher_at
from workers.training.pare.router_start import (
    depth_range,
    first_logits,
    fixed_logits,
    new_router,
    router_shape,
    run_depths,
)
from workers.training.pare.settings import PareSettings
from workers.training.pare.slicing import build_student, slice_student
from workers.training.pare.sources import ClipSource, Source
from workers.training.pare.stages import (
    PARE_STATE,
    PRUNED_STATE,
    ROUTER_STATE,
    Order,
    Stage,
    chooser_of,
    load_teacher,
    open_source,
    settings_of,
    shift_of,
    stage_rank,
    starting_router,
    starting_weights,
    states_of,
    student_network,
    trained_weights,
)
from workers.training.pare.static_blocks import best_blocks
from workers.training.pare.student_folder import write_student
from workers.training.ranks import train_in_ranks
from workers.training.resumable import Deadline
from workers.training.video.evaluation import figures, generate_in_parts, parts_folder
from workers.training.video.pool import build_pool


@dataclass(frozen=True)
class PareRecipe:
    """The stages over one cache folder.

    Attributes:
        teacher: a model's name or folder.
        data: a folder that `precompute` wrote; None: the sprites that `wan-tiny` learns from.

    Raises:
        ValueError: no teacher.
    """

    cache: Path
    out: Path
    deadline: Deadline
    settings: PareSettings = field(default_factory=PareSettings)
    teacher: str | Path | None = None
    data: Path | None = None

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""
        stages = {
            "clips": self.clips,
            "calibrate": self.calibrate,
            "prune": self.prune,
            "distil": self.distil,
            "route": self.route,
            "export": self.export,
            "roles": self.roles,
        }
        return stages if self.data else {**stages, "evaluation": self.evaluation}

    def clips(self) -> bool:
        """Encode sprites, unless there are shards or the teacher's own pool."""
        if self.clips_path.exists():
            return True
        vae = self.loaded.pipeline.vae
        return build_pool(vae, self.settings.pool, self.clips_path, self.deadline)

    def calibrate(self) -> bool:
        """Measure the teacher's heads."""
        if not self.calibration_path.exists():
            transformer = self.loaded.pipeline.transformer
            found = calibrate(transformer, self.source, self.settings.calibration, self.settings.seed)
            found.save(self.calibration_path)
        return True

    def prune(self) -> bool:
        """Choose heads and neurons and cut the student out."""
        if (self.work / PARE_STATE).exists():
            return True
        settings, transformer = self.settings, self.loaded.pipeline.transformer
        blocks = select(transformer, self.found, settings.pruning)
        least, most = depth_range(settings, len(blocks), self.loaded.pipeline.scheduler)
        pare = Pare(
            teacher=self.digest,
            blocks=blocks,
            least_blocks=least,
            most_blocks=most,
            router=router_shape(settings, transformer.config),
        )
        student = slice_student(transformer, pare, self.found if settings.pruning.corrected else None)
        self.work.mkdir(parents=True, exist_ok=True)
        save_file(student.state_dict(), self.work / PRUNED_STATE)
        self._write(PARE_STATE, pare.model_dump(mode="json", exclude_none=True))
        return True

    def distil(self) -> bool:
        """First stage: the pruned student with all its blocks."""
        return self._train("distil")

    def route(self) -> bool:
        """Second stage: student and router together; none where all blocks run."""
        if self.settings.router == "none":
            return True
        if self.pare.router and not (self.work / ROUTER_STATE).exists():
            save_file(self._new_router(self.pare.router).state_dict(), self.work / ROUTER_STATE)
        return self._train("route")

    def _train(self, stage: Stage) -> bool:
        steps = settings_of(self.settings, stage).num_steps
        states = states_of(self.settings, self.work, stage)
        order = Order(self.settings, self.folder, self.clips_path, stage)
        return train_in_ranks(stage_rank, order, states, steps, self.deadline)

    def export(self) -> bool:
        """Write the averaged weights of the newest state as a pipeline folder.

        May be called while a stage is in training.
        """
        stage: Stage = "distil" if self.settings.router == "none" else "route"
        step = states_of(self.settings, self.work, stage).latest()
        weights, trained = trained_weights(self.settings, self.work, stage)
        router = starting_router(self.pare, self.work, self.settings)
        if router is not None:
            router.load_state_dict(trained)
        record = {"recipe": "pare", "stage": stage, "step": step, "settings": self._settings()}
        write_student(
            self.folder, self.student_folder, self.pare, weights=weights, router=router, record=record
        )
        return True

    def roles(self) -> bool:
        """Report how the teacher's heads spread their attention, also at earlier states of its training."""
        settings, source = self.settings, self.source
        report = {"teacher": roles_report(self.found, settings.pruning)}
        for path in settings.teacher_states:
            assert isinstance(source, ClipSource), "such states are of sprites"
            model = teacher_at(path)
            own = ClipSource(source.pool, model)
            found = calibrate(model.transformer, own, settings.calibration, settings.seed)
            report[path.stem] = roles_report(found, settings.pruning)
        self._write("roles.json", report)
        return True

    def evaluation(self) -> bool:
        """Measure clips of unique held-out captions, made by the exported student, into `evaluation.json`.

        The weights are the folder's, bf16, computed with in float32.
        """
        settings = self.settings.evaluation
        clips = unique_clips(settings.num_clips, settings.seed, "heldout")
        student = load(self.student_folder, dtype="float32")
        assert isinstance(student, Wan), "it was exported"
        pipeline = student.pipeline
        pipeline.transformer = self._routed(student)
        made = parts_folder(self.work, self.student_folder, settings)
        captions = [clip.caption for clip in clips]
        generated = generate_in_parts(pipeline, captions, made, settings, self.deadline)
        if generated is None:
            return False
        depths = run_depths(
            pipeline.scheduler, settings.num_inference_steps, self.pare.least_blocks, self.pare.most_blocks
        )
        report = {**settings.model_dump(), **compute_share(student.catalog, depths)}
        wanted = [clip.attributes for clip in clips]
        self._write("evaluation.json", report | {"generated": figures(generated, wanted)})
        return True

    def _routed(self, student: Wan) -> RoutedTransformer:
        router = load_router(self.student_folder, self.pare)
        chooser = chooser_of(self.pare, self.settings, router)
        return RoutedTransformer(student.pipeline.transformer, student.network, chooser, self.settings.seed)

    def _new_router(self, shape: RouterShape) -> DepthRouter:
        fixed = self.settings.router == "static"
        logits = fixed_logits(self._fixed_blocks()) if fixed else first_logits(self.found.residual)
        return new_router(shape, logits)

    def _fixed_blocks(self) -> Tensor:
        transformer = build_student(self.loaded.pipeline.transformer.config, self.pare)
        transformer.load_state_dict(starting_weights(self.settings, self.work, "route"))
        network = student_network(transformer, self.loaded, self.pare)
        rows, seed, shift = self.settings.route.batch, self.settings.seed, shift_of(self.loaded)
        count = round(self.pare.most_blocks)
        return best_blocks(network, self.source, count, shift=shift, rows=rows, seed=seed)

    @cached_property
    def folder(self) -> Path:
        """The teacher's."""
        if self.teacher is None:
            raise ValueError("the pare recipe needs a teacher: a model's name or folder")
        made_here = self.out / self.teacher
        return made_here if made_here.exists() else locate(self.teacher)[1]

    @cached_property
    def digest(self) -> str:
        """The teacher's."""
        return digest_of(self.folder)

    @cached_property
    def loaded(self) -> Wan:
        """The teacher."""
        return load_teacher(self.folder, self.settings)

    @cached_property
    def source(self) -> Source:
        """What the student learns from."""
        return open_source(self.clips_path, self.loaded)

    @cached_property
    def found(self) -> Calibration:
        """What was measured."""
        return Calibration.load(self.calibration_path)

    @cached_property
    def pare(self) -> Pare:
        """What is kept."""
        return Pare.model_validate_json((self.work / PARE_STATE).read_bytes())

    @property
    def name(self) -> str:
        """Of the student's folders."""
        control = self.settings.control
        return f"{self.folder.name}-pare" + (f"-{control}" if control else "")

    @property
    def work(self) -> Path:
        """The folder of this student's states."""
        return self.cache / self.name / self.digest[:12]

    @property
    def student_folder(self) -> Path:
        """Where the pipeline goes."""
        return self.out / self.name

    @property
    def shared(self) -> Path:
        """What student and controls have in common."""
        return self.cache / f"{self.folder.name}-pare" / self.digest[:12]

    @property
    def calibration_path(self) -> Path:
        return self.shared / "calibration.safetensors"

    @property
    def clips_path(self) -> Path:
        """Shards, else the pool the teacher learned from, else one of our own."""
        own = self.cache / self.folder.name / "pool.npy"
        return self.data or (own if own.exists() else self.shared / "pool.npy")

    def _settings(self) -> dict[str, Any]:
        return self.settings.model_dump(mode="json", exclude={"teacher_states"})

    def _write(self, name: str, report: dict[str, Any]) -> None:
        (self.work / name).write_text(json.dumps(report, indent=2) + "\n")
        print(name, "written", flush=True)
