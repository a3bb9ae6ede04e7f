"""What metrics, JSON logs and tracing cost a picture.

    OMP_NUM_THREADS=1 python -m benchmarks.telemetry_overhead [--pairs 200] [--steps 28]

Two whole paths from HTTP to the picture, on one model: a gateway, a queue in a Valkey of its own, the
loop of an engine. One has everything on: the meter's datagrams to a supervisor's registry, which is
scraped each second, JSON lines at level info, every trace sampled and sent. The other has everything off:
a meter that takes nothing, no log but of errors, no trace. Both loops are in this process, so that they
share the weights; the gateways, the registry with its exporter, and the receiver with the scraper are
processes of their own, as in a deployment. Requests take turns in pairs, which of a pair goes first
alternates; the ratio is the median of the pairs', its interval a bootstrap over them: what a neighbour
does to single pictures does not decide, what lasts longer than a pair cancels. The processor time of this
process, in which the engine runs, is the same in another unit, which neighbours disturb less. The first
requests warm up and do not count.

Ceiling: 1 %. Writes docs/results/telemetry_overhead.json and .md; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import httpx
import numpy as np

from benchmarks.quality_vs_compute.intervals import bootstrap, median
from benchmarks.reports import RESULTS, machine, publish
from benchmarks.telemetry_receivers import READY
from protocol.artifacts import ArtifactStore
from protocol.jobqueue import Catalog, JobQueue
from protocol.logs import set_up
from protocol.tracing import TracingSettings
from server.valkey import EmbeddedValkey
from workers.board import Board, Orders
from workers.engine import Engine
from workers.meter import Meter
from workers.models import Model, load
from workers.runtime import Runtime
from workers.settings import WorkerSettings
from workers.speed import Speedometer

CEILING = 1.01
WARM_UP = 5
PROMPT = "two red apples on a blue background"


class Silence(Meter):
    """A meter that is not there."""

    def add(self, *_: Any, **_named: Any) -> None:
        return

    expect = step = settle = tell = flush = add  # type: ignore[assignment]


@contextmanager
def receivers() -> Iterator[tuple[socket.socket, str]]:
    """The other processes: where the meter's datagrams and the spans go. Gives the socket and the address."""
    inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    command = [sys.executable, "-m", "benchmarks.telemetry_receivers", str(inlet.fileno())]
    with (
        outlet,
        subprocess.Popen(command, pass_fds=[inlet.fileno()], stdout=subprocess.PIPE, text=True) as process,
    ):
        inlet.close()
        try:
            assert process.stdout is not None
            yield outlet, _address(process.stdout)
        finally:
            process.terminate()


def _address(lines: TextIO) -> str:
    word, _, url = lines.readline().strip().partition(" ")
    if word != READY:
        raise RuntimeError("the receivers did not start")
    return url


@asynccontextmanager
async def path(model: Model, folder: Path, meter: Meter, collector: str | None) -> AsyncIterator[str]:
    """One whole path; its gateway's URL. `collector` is where its spans go; None: everything is off."""
    async with AsyncExitStack() as stack:
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        shared = {"redis_url": valkey.url, "artifacts": str(folder / "artifacts")}
        queue = await JobQueue.connect(valkey.url)
        stack.push_async_callback(queue.close)
        await Catalog(queue).put(model.catalog)
        tracing = TracingSettings(endpoint=collector)
        settings = WorkerSettings.load(**shared, tracing=tracing)
        await stack.enter_async_context(_loop(model, queue, meter, settings))
        yield stack.enter_context(_gateway(shared, folder / "log", collector))


@asynccontextmanager
async def _loop(model: Model, queue: JobQueue, meter: Meter, settings: WorkerSettings) -> AsyncIterator[None]:
    fd = Board.create()
    runtime = Runtime(
        "worker",
        settings,
        board=Board(fd),
        engine=Engine(model),
        entries=[model.catalog],
        queue=queue,
        store=ArtifactStore(settings.artifacts),
        meter=meter,
        speed=Speedometer(),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(runtime.run())
        yield
        Board(fd).orders = Orders(draining=True)
    os.close(fd)


@contextmanager
def _gateway(shared: dict[str, str], log: Path, collector: str | None) -> Iterator[str]:
    told = {"port": str(_free_port()), "log_format": "json", "log_level": "error", **shared}
    if collector is not None:
        told |= {"log_level": "info", "tracing__endpoint": collector}
    environment = {f"RHEOSTAT_SERVER_{name.upper()}": value for name, value in told.items()}
    command, url = [sys.executable, "-m", "server", "server"], f"http://127.0.0.1:{told['port']}"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | environment)
    try:
        _until_alive(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_alive(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/livez", timeout=5).is_success:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError("a gateway did not start")


async def one(http: httpx.AsyncClient, url: str, steps: int, *, on: bool) -> tuple[float, float]:
    """Latency and processor time of one picture, in seconds."""
    logging.disable(logging.NOTSET if on else logging.CRITICAL)
    body = {"model": "flux-tiny", "prompt": PROMPT, "size": "64x64", "seed": 7, "num_inference_steps": steps}
    started, spent = time.perf_counter(), time.process_time()
    answer = await http.post(f"{url}/v1/images/generations", json=body)
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    answer.raise_for_status()
    return seconds, spent


async def measure(model: Model, folder: Path, pairs: int, steps: int) -> np.ndarray[Any, Any]:
    """(pairs, 2, 2): everything on and everything off, of each the latency and the processor time."""
    rows = []
    with receivers() as (outlet, collector), socket.socket() as nowhere:
        async with (
            path(model, folder / "on", Meter(outlet), collector) as loud,
            path(model, folder / "off", Silence(nowhere), None) as quiet,
            httpx.AsyncClient(timeout=120) as http,
        ):
            try:
                for index in range(-WARM_UP, pairs):
                    arms = [(loud, True), (quiet, False)][:: 1 - 2 * (index % 2)]
                    times = {on: await one(http, url, steps, on=on) for url, on in arms}
                    rows.append((times[True], times[False]))
            finally:
                logging.disable(logging.NOTSET)
    return np.array(rows[WARM_UP:])


def report_of(times: np.ndarray[Any, Any], steps: int) -> dict[str, Any]:
    found: dict[str, Any] = {"benchmark": "telemetry_overhead", "machine": machine(), "steps": steps}
    found |= {"pairs": len(times), "ceiling": CEILING}
    for place, name in enumerate(("latency", "processor")):
        on, off = times[:, 0, place], times[:, 1, place]
        interval = bootstrap(on / off, median)
        found[name] = {
            "on_ms": round(1e3 * float(median(on)), 3),
            "off_ms": round(1e3 * float(median(off)), 3),
            "ratio": round(interval.estimate, 5),
            "low": round(interval.low, 5),
            "high": round(interval.high, 5),
        }
    return found


def page(report: dict[str, Any]) -> str:
    """The table for people."""
    rows = [
        f"| {name} | {row['on_ms']:.2f} | {row['off_ms']:.2f} |"
        f" {row['ratio']:.4f} | {row['low']:.4f} to {row['high']:.4f} |"
        for name in ("latency", "processor")
        for row in [report[name]]
    ]
    head = (
        "`OMP_NUM_THREADS=1 python -m benchmarks.telemetry_overhead`\n\n"
        f"Medians of {report['pairs']} pairs of pictures of {report['steps']} steps, flux-tiny at 64x64,"
        f" with metrics, JSON logs and tracing on and off. Ceiling {report['ceiling']:g}."
        f" {report['machine']}.\n\n"
        "| | on, ms | off, ms | ratio | 95 % |\n|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rheostat-") as folder:
        set_up("json", "info", (Path(folder) / "log").open("w"))
        sys.excepthook = sys.__excepthook__  # our own end is for the reader, not for that log
        model = load("flux-tiny", dtype=options.dtype)
        times = asyncio.run(measure(model, Path(folder), options.pairs, options.steps))
    report = report_of(times, options.steps)
    publish(report, page(report), options.out)
    return 0 if report["latency"]["ratio"] <= CEILING else 1


if __name__ == "__main__":
    sys.exit(main())
