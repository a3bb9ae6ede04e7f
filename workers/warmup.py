"""From a cold process to one that may serve: load, prove, warm, measure."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence

from PIL import Image

from protocol.catalog import CatalogEntry
from protocol.jobs import GenerationInput, GenerationRequest
from protocol.resolve import resolve
from protocol.start_images import to_png
from workers.engine import Engine, EngineSettings, Result, self_test
from workers.meter import Meter
from workers.models import LoadedModel, LoadOptions, load
from workers.models.mesh import MeshShape
from workers.place import ALL_ALONE, Place
from workers.rendezvous import device_of, join
from workers.settings import WorkerSettings
from workers.speed import Speedometer

_LOG = logging.getLogger("rheostat.worker")
_STEPS = 3
"""The first evaluation compiles and allocates; the speed is that of the others."""


def load_models(settings: WorkerSettings, place: Place = ALL_ALONE) -> list[LoadedModel]:
    """Load and self-test every model, together with the other ranks if there are any.

    Raises:
        Exception: whatever a model or its self-test refuses; the process is unfit then.
    """
    device, mesh = device_of(settings.device, place), None
    if place.size > 1:
        shape = MeshShape(settings.lane_ranks, place.size // settings.lane_ranks, settings.attention_split)
        mesh = join(place, shape, device, settings.warmup_timeout_s)
    options = LoadOptions(
        mesh=mesh,
        attention_backend=settings.attention_backend,
        compile_blocks=settings.compile_blocks,
        weights=settings.weight_dtype,
        offload=settings.offload,
    )
    models = [load(name, str(device), settings.dtype, options) for name in settings.models]
    for model in models:
        self_test(model)
        _LOG.info("%s is loaded and isolates its rows", model.name)
    return models


def make_engine(models: Sequence[LoadedModel], settings: WorkerSettings) -> Engine:
    """The engine over these models."""
    return Engine(models, engine_settings(settings))


def engine_settings(settings: WorkerSettings) -> EngineSettings:
    """What of a worker's settings its engine is told."""
    return EngineSettings(
        num_threads=settings.threads,
        preview_every=settings.preview_every,
        weights=settings.weights,
    )


def warm_up(engine: Engine, entries: Sequence[CatalogEntry], meter: Meter, speed: Speedometer) -> None:
    """Run one small job of every model through the engine; its compute is counted as wasted on warm-up."""
    for entry in entries:
        (result,) = engine.run([_request(entry)])
        _measure(result, entry.name, meter, speed)
        meter.settle("warm-up", "warmup")


def _request(entry: CatalogEntry) -> GenerationRequest:
    given = GenerationInput(
        prompt="warm-up" if entry.takes_prompt else None,
        seed=0,
        num_inference_steps=min(_STEPS, entry.max_steps),
        image=_grey_image() if "image" in entry.required_fields else None,
    )
    return resolve(GenerationRequest(model=entry.name, input=given), entry)


def _grey_image() -> str:
    return base64.b64encode(to_png(Image.new("RGB", (64, 64), "grey"))).decode()


def _measure(result: Result, model: str, meter: Meter, speed: Speedometer) -> None:
    lines = [line for sample in result.receipt.samples for line in sample.steps]
    for line in lines:
        meter.step("warm-up", model, line)
    for line in lines[1:]:
        speed.add(model, line.tflops, line.seconds)
