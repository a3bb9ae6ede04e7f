"""`rheostat calibrate`: from a checkpoint and prompts to `calibration.json` beside its weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from protocol.calibration import CALIBRATION_FILE, Calibration, CalibrationPoint
from protocol.drafts import even_nodes
from protocol.methods import CACHES, FEW_STEP, FEWER_STEPS, JOIN, LEARNED
from workers.models import Model, load, picture_model
from workers.models.loading import locate
from workers.training.calibration import depth_points, rivals, softcap_points
from workers.training.calibration.notebook import Notebook, OutOfTime
from workers.training.calibration.placement import Placement
from workers.training.calibration.probe import Probe, make_probe
from workers.training.calibration.prompts import FEW, choose_prompts, digest_of, special_settings
from workers.training.calibration.schedules import hardest, respread, search_nodes
from workers.training.calibration.tables import drift_scales, magcache_ratios, teacache_polynomial
from workers.training.calibration.trial import Trial

_LOG = logging.getLogger(__name__)
CACHE = Path.home() / ".cache" / "rheostat" / "calibration"
_PROBE_SEED, _TRIAL_SEED = 1_000_000, 2_000_000
_TRIAL_SHARE = 0.25
"""Of the prompts, kept apart: methods are measured on these and fitted to the others."""
_TABLE_ROWS, _SEARCH_ROWS = 16, 32
_DIAL = (5, 7, 9, 14, 21)
"""Full evaluations (of 28; scaled to the model's steps) that rivals are set for."""
_UNSEARCHED = (16, 19, 22, 25)
_DIAL_STEPS = 28


def calibrate(
    model: str,
    *,
    prompts_file: Path | None = None,
    num_prompts: int = 256,
    dtype: str = "float32",
    work: Path | None = None,
    methods: Sequence[str] | None = None,
    reference: str | None = None,
    max_minutes: float | None = None,
) -> Path | None:
    """Calibrate a model and write `calibration.json` beside its weights.

    A PARE student's methods are calibrated above its router, at the depths of the line it was trained on.

    Args:
        model: as `workers.models.load` takes it.
        prompts_file: one prompt a line; None: the calibration captions of the reference model that makes what
            this one makes, pictures or clips.
        num_prompts: the first so many; three quarters are fitted to, one quarter is measured on.
        work: folder of the resumable state; None: one in the user's cache.
        methods: which to calibrate now; the others stay as they stand in the file.
        reference: the model whose unabridged runs are what all are compared with, a student's teacher; None:
            the model's own.
        max_minutes: nothing new is begun after this.

    Returns:
        The file, or None if time ran out before everything asked for was there.

    Raises:
        ValueError: too few prompts, or a model of text or music.
    """
    loaded = picture_model(load(model, dtype=dtype))
    compared = None if reference is None else picture_model(load(reference, dtype=dtype))
    prompts = choose_prompts(loaded, prompts_file, num_prompts)
    special = special_settings(loaded, compared).values()
    names = (loaded.base_digest[:12], digest_of(prompts), dtype, *special)
    folder = work or CACHE / "-".join(map(str, names))
    try:
        session = _Session(loaded, prompts, Notebook(folder, max_minutes), folder, compared)
        points = session.points(methods or _all_methods(loaded))
    except OutOfTime as stopped:
        _LOG.warning("out of time before %s; call again to go on", stopped)
        return None
    _, where = locate(model)
    path = where / CALIBRATION_FILE
    made = _merged(session.calibration(points), Calibration.read(where, loaded.base_digest))
    path.write_text(made.model_dump_json(indent=1) + "\n")
    return path


def _merged(made: Calibration, before: Calibration | None) -> Calibration:
    """With the points and tables of methods that were calibrated before and not now, on the same settings."""
    if before is None or before.settings != made.settings:
        return made
    anew = {point.method for point in made.points}
    kept = [point for point in before.points if point.method not in anew]
    return made.model_copy(
        update={"points": _sorted([*made.points, *kept]), "tables": {**before.tables, **made.tables}}
    )


def _sorted(points: Sequence[CalibrationPoint]) -> tuple[CalibrationPoint, ...]:
    return tuple(sorted(points, key=lambda point: (point.method, point.budget, point.mode or "")))


def _all_methods(model: Model) -> tuple[str, ...]:
    own = LEARNED if model.depth_router is not None else "static-drop"
    routers = (own,) if own in model.catalog.methods else ()
    return (*routers, *CACHES, *FEWER_STEPS, *model.variants)


class _Session:
    """One model and its prompts, with what is found of each method."""

    def __init__(
        self,
        model: Model,
        prompts: Sequence[str],
        notebook: Notebook,
        folder: Path,
        reference: Model | None = None,
    ) -> None:
        self._model, self._notebook, self._folder = model, notebook, folder
        self._prompts, self._reference = prompts, reference
        kept = max(FEW, int(_TRIAL_SHARE * len(prompts)))
        self._probe = self._runs(model, "probe", prompts[:-kept], _PROBE_SEED)
        apart = self._runs(reference or model, "trial", prompts[-kept:], _TRIAL_SEED)
        self.tables = self._find_tables()
        self._trial = Trial(model, prompts[-kept:], _TRIAL_SEED, apart.final, self.tables)
        self._few = self._trial.few(FEW)

    def points(self, methods: Sequence[str]) -> list[CalibrationPoint]:
        """All points of these methods."""
        return [point for method in methods for point in self._method(method)]

    def calibration(self, points: Sequence[CalibrationPoint]) -> Calibration:
        return Calibration(
            digest=self._model.base_digest,
            created=int(time.time()),
            model_created=self._model.catalog.created,
            num_inference_steps=self._trial.steps,
            settings={
                "prompts": len(self._prompts),
                "measured_on": len(self._trial.prompts),
                "prompts_sha256": digest_of(self._prompts),
                "seeds": [_PROBE_SEED, _TRIAL_SEED],
                "dtype": self._model.catalog.dtype,
                **special_settings(self._model, self._reference),
            },
            points=_sorted(points),
            tables=self.tables,
        )

    def _runs(self, model: Model, name: str, prompts: Sequence[str], first_seed: int) -> Probe:
        """Unabridged runs, kept in the work folder."""
        path = self._folder / f"{name}.safetensors"
        probe = make_probe(model, prompts, first_seed, known=load_file(path) if path.exists() else None)
        if not path.exists():
            save_file({"outputs": probe.outputs, "final": probe.final}, path)
        return probe

    def _find_tables(self) -> dict[str, Any]:
        rows = torch.arange(min(_TABLE_ROWS, len(self._probe)))
        few = self._probe.take(rows)
        note = self._notebook.entry
        return {
            "teacache": {"polynomial": note("teacache-polynomial", lambda: teacache_polynomial(few))},
            "magcache": {"ratios": note("magcache-ratios", lambda: magcache_ratios(few))},
            "softcap-paper": {"scales": note("drift-scales", lambda: drift_scales(few))},
        }

    def _counts(self, dial: Sequence[int] = _DIAL) -> tuple[int, ...]:
        """Numbers of full evaluations, scaled to the model's steps."""
        steps = self._trial.steps
        return tuple(sorted({max(1, round(count * steps / _DIAL_STEPS)) for count in dial}))

    def _searched(self) -> dict[int, tuple[int, ...]]:
        """Searched schedules for the dial's numbers of full evaluations, each begun from the one before."""
        rows = hardest(self._probe, min(_SEARCH_ROWS, len(self._probe)))
        found: dict[int, tuple[int, ...]] = {}
        steps = self._trial.steps
        before: tuple[int, ...] | None = None
        for count in self._counts():
            first = respread(before, count, steps) if before else even_nodes(count, steps)
            search = partial(search_nodes, self._probe, first, rows)
            before = found[count] = tuple(self._notebook.entry(f"nodes-{count}", search))
        return found

    def _method(self, method: str) -> list[CalibrationPoint]:
        """The method's points, each measured once."""
        find: Mapping[str, Callable[[], list[CalibrationPoint]]] = {
            "softcap": self._softcap,
            "softcap-paper": self._softcap_paper,
            "static": self._static,
            **{rival.method: self._dialled(rival) for rival in rivals.DIALLED},
            **{name: self._stepped(name) for name in rivals.STEPPED},
            **{name: self._solver(name) for name in FEWER_STEPS},
            FEW_STEP: self._student,
            LEARNED: self._learned,
            "static-drop": self._dropped,
        }
        return find[method]()

    def _softcap(self) -> list[CalibrationPoint]:
        fitted = softcap_points.fit_paths(self._probe, self._notebook)
        self.tables["softcap"] = fitted.table(self._probe)
        return softcap_points.policy_points(self._trial, fitted, self._notebook)

    def _softcap_paper(self) -> list[CalibrationPoint]:
        """tau_0 is the fixed policy's, then the controller runs on the curve that this policy has."""
        fixed = self._method("fixed-threshold")
        curve = self._notebook.entry("reference-curve", lambda: rivals.reference_curve(self._few, fixed))
        self.tables["softcap-paper"]["curve"] = curve

        def find() -> list[CalibrationPoint]:
            return rivals.controlled_points(self._trial, fixed)

        return self._noted("softcap-paper", find)

    def _static(self) -> list[CalibrationPoint]:
        """At every number of anchors the better of a searched schedule, or its like, and the placed one."""
        searched, steps, placement = self._searched(), self._trial.steps, Placement(self._probe)
        unsearched = {
            count: respread(searched[min(searched, key=lambda known: abs(known - count))], count, steps)
            for count in self._counts(_UNSEARCHED)
        }
        found: list[CalibrationPoint] = []
        for count, nodes in sorted({**unsearched, **searched}.items()):
            schedules = {tuple(nodes), placement.place(count)}
            find = partial(rivals.static_points, self._trial, self._few, count, schedules)
            found += self._noted(f"static-{count}", find)
        return found

    def _learned(self) -> list[CalibrationPoint]:
        """The router alone; how far it follows the input is found with it."""
        self.tables[LEARNED] = self._notebook.entry(
            "logits", lambda: depth_points.logit_quantiles(self._probe)
        )
        return self._heights(LEARNED)

    def _dropped(self) -> list[CalibrationPoint]:
        """The same blocks for every input, those that are missed most."""
        few = self._probe.take(torch.arange(min(_TABLE_ROWS, len(self._probe))))
        ranking = self._notebook.entry("ranking", lambda: depth_points.block_ranking(few))
        self.tables["static-drop"] = {"ranking": ranking}
        return self._heights("static-drop")

    def _heights(self, router: str) -> list[CalibrationPoint]:
        return self._noted(router, lambda: depth_points.height_points(self._trial, self._few, router))

    def _student(self) -> list[CalibrationPoint]:
        """Its one run; nothing where the model has no student for its own default."""
        plan = self._trial.student_plan()
        return [] if plan is None else self._noted(FEW_STEP, lambda: [self._trial.point(plan)])

    def _dialled(self, rival: rivals.Dialled) -> Callable[[], list[CalibrationPoint]]:
        def find() -> list[CalibrationPoint]:
            return rivals.dialled_points(self._trial, self._few, rival, self._counts())

        return lambda: self._noted(rival.method, find)

    def _stepped(self, name: str) -> Callable[[], list[CalibrationPoint]]:
        return lambda: self._noted(
            name, lambda: rivals.stepped_points(self._trial, self._few, name, self._counts())
        )

    def _solver(self, name: str) -> Callable[[], list[CalibrationPoint]]:
        """Fewer steps with a solver. The model's own has two names: it is measured once, under "steps"."""
        measured = "steps" if name == self._model.catalog.solver else name

        def find() -> list[CalibrationPoint]:
            return rivals.solver_points(self._trial, self._few, measured, self._searched())

        full_name = f"{LEARNED}{JOIN}{name}" if self._probe.routing else name
        return lambda: [
            point.model_copy(update={"method": full_name}) for point in self._noted(measured, find)
        ]

    def _noted(self, name: str, find: Callable[[], list[CalibrationPoint]]) -> list[CalibrationPoint]:
        entry = self._notebook.entry(
            f"points-{name}", lambda: [point.model_dump(mode="json") for point in find()]
        )
        return [CalibrationPoint.model_validate(point) for point in entry]
