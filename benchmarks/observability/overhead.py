"""What counting costs against what is counted: processor time of a 28-step picture and of its metrics."""

from __future__ import annotations

import socket
import statistics
import time
from typing import Any

from protocol import metrics
from protocol.jobs import GenerationInput, GenerationRequest
from protocol.receipts import StepLine
from workers.engine import Engine
from workers.meter import Dispatch, Meter
from workers.metrics import WorkerMetrics
from workers.models import load

STEPS = 28
LIMIT = 0.01
REPEATS = 20
PICTURES = 3
_MAX_DATAGRAM = 1 << 20


def measure(model: str) -> dict[str, Any]:
    """Seconds of processor time a picture; `share` is metrics of engine and supervisor over the picture."""
    engine = Engine([load(model, dtype="float32")])
    request = GenerationRequest(
        model=model, input=GenerationInput(prompt="a red apple", seed=1, num_inference_steps=STEPS)
    )
    engine.run([request])
    pictures = []
    for _ in range(PICTURES):
        started = time.process_time()
        [result] = engine.run([request])
        pictures.append(time.process_time() - started)
    lines = result.receipt.samples[0].steps
    told, taken = zip(*(_count(model, lines) for _ in range(REPEATS)), strict=True)
    picture, meter, registry = (statistics.median(figures) for figures in (pictures, told, taken))
    return {
        "steps": len(lines),
        "picture_cpu_s": round(picture, 4),
        "engine_side_cpu_s": round(meter, 6),
        "supervisor_side_cpu_s": round(registry, 6),
        "share": round((meter + registry) / picture, 5),
        "limit": LIMIT,
    }


def _count(model: str, lines: tuple[StepLine, ...]) -> tuple[float, float]:
    """Tell a picture's metrics turn by turn, then take them in; processor seconds of both."""
    inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with inlet, outlet:
        inlet.setblocking(False)
        meter, registry, received = Meter(outlet), WorkerMetrics(), []
        registry.receive(Dispatch())
        told = taken = 0.0
        for line in lines:
            started = time.process_time()
            meter.step("job", model, line, trace_id="0" * 32)
            meter.add(metrics.BATCH_ROWS, 1, model)
            meter.add(metrics.COST_ERROR, 1, model)
            meter.add(metrics.RUNNING_SAMPLES, 1, model)
            meter.flush()
            told += time.process_time() - started
            received.append(inlet.recv(_MAX_DATAGRAM))
        started = time.process_time()
        for raw in received:
            registry.receive(Dispatch.model_validate_json(raw))
        taken = time.process_time() - started
    return told, taken
