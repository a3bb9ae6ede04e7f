"""Whether pictures are kept waiting by videos on the same worker.

    python -m benchmarks.mixed_media --images 150

The whole system (Valkey, gateway, one worker that serves both models, files on disk), three phases:

images   pictures by the clock: Poisson arrivals at `--load` of what the worker can do, the same in every run
videos   `--videos` jobs at a time, another as soon as one ends
mixed    both at once: the same arrivals, the same number of videos

Latency is a synchronous request's, HTTP and queue included. Ceiling: mixed p95 at most 2 x that of `images`.
A worker without shares of its time would let a picture wait for whole turns of videos. Beside it the videos'
evaluations a second: what the pictures leave them, which is no less than their share. The videos' model has
random weights unless a folder is given: it shows time. Writes docs/results/mixed_media.json and .md; the last
line is one JSON object. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from diffusers import WanTransformer3DModel

from benchmarks.reports import RESULTS, machine, publish
from protocol.cost import price
from protocol.jobs import GenerationInput, GenerationRequest
from protocol.resolve import resolve
from server.local import LocalOptions, LocalSystem
from tests.plugins.wan import WanRecipe, build_wan
from workers.models import load

LIMIT = 2.0
WARM_UP = 5
SIDE, FRAMES, STEPS = 64, 17, 30
PROMPT = "two red apples on a blue background"
VIDEO_NAME = "random-wan"
_POLL_S = 0.25
_SMOKE = {"images": 8, "videos": 1, "seconds": 4.0}


def build_video_model(folder: Path) -> Path:
    """A Wan as large as wan-tiny, untrained, that makes 17 frames of 64 x 64: 576 tokens, two lanes."""
    defaults = {"width": SIDE, "height": SIDE, "num_frames": FRAMES, "num_inference_steps": STEPS}
    settings = {"defaults": defaults, "frames": {"max_frames": FRAMES, "fps": 8}}
    recipe = WanRecipe(settings=settings)
    build_wan(folder, recipe)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = WanTransformer3DModel(
            num_attention_heads=10,
            attention_head_dim=16,
            in_channels=recipe.latent_channels,
            out_channels=recipe.latent_channels,
            text_dim=32,
            freq_dim=256,
            ffn_dim=448,
            num_layers=10,
        )
    transformer.save_pretrained(folder / "transformer")
    return folder


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and the longest, in seconds."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 4), "p95": round(cuts[94], 4), "max": round(max(values), 4)}


class Crowd:
    """Callers of one system."""

    def __init__(self, http: httpx.AsyncClient, image: str, video: str) -> None:
        self._http = http
        self._image = image
        self._video = video
        self._seed = 0

    async def picture(self) -> float:
        """Ask for one and wait; its latency in seconds."""
        self._seed += 1
        body = {"model": self._image, "prompt": PROMPT, "seed": self._seed, "response_format": "url"}
        started = time.perf_counter()
        answer = await self._http.post("/v1/images/generations", json=body)
        answer.raise_for_status()
        return time.perf_counter() - started

    async def service_s(self) -> float:
        """The median of pictures one after another, the first ones left out."""
        taken = [await self.picture() for _ in range(2 * WARM_UP)]
        return statistics.median(taken[WARM_UP:])

    async def pictures(self, count: int, rate: float) -> list[float]:
        """Latencies of so many that arrive by the clock, whoever still waits; always the same times."""
        dice, started, at = random.Random(7), time.perf_counter(), 0.0
        calls = []
        for _ in range(count):
            at += dice.expovariate(rate)
            await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
            calls.append(asyncio.create_task(self.picture()))
        return list(await asyncio.gather(*calls))

    @asynccontextmanager
    async def videos(self, count: int) -> AsyncIterator[list[str]]:
        """So many at a time until the end, when those that run are cancelled; all ids that were sent."""
        sent: list[str] = []
        callers = [asyncio.create_task(self._one_after_another(sent)) for _ in range(count)]
        try:
            yield sent
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            for job in sent:
                await self._http.post(f"/v1/generations/{job}/cancel")

    async def _one_after_another(self, sent: list[str]) -> None:
        while True:
            self._seed += 1
            body = {"model": self._video, "input": {"prompt": PROMPT, "seed": self._seed}}
            answer = await self._http.post("/v1/generations", json=body)
            answer.raise_for_status()
            sent.append(answer.json()["id"])
            await self._ended(sent[-1])

    async def _ended(self, job: str) -> None:
        while True:
            if (await self.job(job))["status"] not in ("queued", "running"):
                return
            await asyncio.sleep(_POLL_S)

    async def job(self, job: str) -> dict[str, Any]:
        answer = await self._http.get(f"/v1/generations/{job}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def evaluations(self, jobs: Sequence[str]) -> int:
        """How many steps these have done so far."""
        return sum([(await self.job(job))["progress"]["step"] for job in jobs])


async def measure(crowd: Crowd, options: argparse.Namespace) -> dict[str, Any]:
    """All three phases."""
    service_s = await crowd.service_s()
    rate = options.load / service_s
    alone = await crowd.pictures(options.images, rate)
    async with crowd.videos(options.videos) as sent:
        videos_alone = await _evaluations_a_second(crowd, sent, asyncio.sleep(options.seconds))
    async with crowd.videos(options.videos) as sent:
        await _begun(crowd, sent)
        mixed: list[float] = []

        async def pictures() -> None:
            mixed.extend(await crowd.pictures(options.images, rate))

        videos_mixed = await _evaluations_a_second(crowd, sent, pictures())
    ratio = quantiles(mixed)["p95"] / quantiles(alone)["p95"]
    return {
        "images": options.images,
        "videos": options.videos,
        "load": options.load,
        "service_s": round(service_s, 4),
        "images_per_second": round(rate, 4),
        "alone_s": quantiles(alone),
        "mixed_s": quantiles(mixed),
        "p95_ratio": round(ratio, 3),
        "limit": LIMIT,
        "video_steps_per_second": {"alone": round(videos_alone, 3), "mixed": round(videos_mixed, 3)},
        "passed": ratio <= LIMIT,
    }


async def _begun(crowd: Crowd, jobs: Sequence[str]) -> None:
    """Until the first video has its first step behind it."""
    while True:
        if jobs and await crowd.evaluations(jobs[:1]):
            return
        await asyncio.sleep(_POLL_S)


async def _evaluations_a_second(crowd: Crowd, jobs: list[str], during: Any) -> float:
    """Steps of videos done while the coroutine runs, a second."""
    await _begun(crowd, jobs)
    before, started = await crowd.evaluations(jobs), time.perf_counter()
    await during
    return (await crowd.evaluations(jobs) - before) / (time.perf_counter() - started)


def as_markdown(report: dict[str, Any]) -> str:
    """The table, command on top."""
    steps = report["video_steps_per_second"]
    return (
        f"`{report['command']}`\n\n"
        f"{report['machine']}, {report['dtype']}. {report['images']} pictures of {report['image_model']} "
        f"arriving by the clock, {report['images_per_second']:.2f} a second ({report['load']:g} of what one "
        f"worker does), alone and beside {report['videos']} videos at a time of {report['video_model']}, "
        f"each {report['cost_ratio']:.1f} x a picture's FLOP. Seconds from request to answer.\n\n"
        "| | p50 | p95 | longest | video steps a second |\n|---|---|---|---|---|\n"
        + _row("pictures alone", report["alone_s"], None)
        + _row("pictures and videos", report["mixed_s"], steps["mixed"])
        + f"| videos alone | | | | {steps['alone']:.2f} |\n\n"
        f"p95 of pictures: {report['p95_ratio']:.2f} x (limit {report['limit']:g}).\n"
    )


def _row(name: str, taken: dict[str, float], steps: float | None) -> str:
    told = "" if steps is None else f"{steps:.2f}"
    return f"| {name} | {taken['p50']:.3f} | {taken['p95']:.3f} | {taken['max']:.3f} | {told} |\n"


async def run(url: str, image: str, video: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a running system."""
    async with httpx.AsyncClient(base_url=url, timeout=300) as http:
        return await measure(Crowd(http, image, video), options)


def full_flop(model: str) -> int:
    """Of the denoiser, in one job with the model's defaults."""
    entry = load(model).catalog
    given = GenerationInput(prompt=PROMPT, seed=0)
    return price(entry, resolve(GenerationRequest(model=entry.name, input=given), entry)).full_flop


def main() -> int:
    options = _options()
    os.environ["RHEOSTAT_WORKER_DTYPE"] = options.dtype
    with tempfile.TemporaryDirectory(prefix="rheostat-") as given:
        folder = Path(given)
        video = options.video or str(build_video_model(folder / VIDEO_NAME))
        models = f"{options.image},{video}"
        cost_ratio = full_flop(video) / full_flop(options.image)
        system = LocalSystem(LocalOptions(folder / "data", port=0, models=models, quiet=True))
        try:
            system.start()
            system.wait_ready()
            names = Path(options.image).name, Path(video).name
            figures = asyncio.run(run(system.url, *names, options))
        finally:
            system.stop()
    report = {
        "benchmark": "mixed_media",
        "command": shlex.join(["python", "-m", "benchmarks.mixed_media", *sys.argv[1:]]),
        "machine": machine(),
        "image_model": names[0],
        "video_model": names[1],
        "dtype": options.dtype,
        "cost_ratio": round(cost_ratio, 2),
        **figures,
    }
    publish(report, as_markdown(report), None if options.smoke else options.out)
    return 0 if report["passed"] or options.smoke else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", default="flux-tiny")
    parser.add_argument("--video", help="a name or folder; default: random weights, made here")
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--videos", type=int, default=4, help="at a time")
    parser.add_argument("--load", type=float, default=0.4, help="share of the worker the pictures take")
    parser.add_argument("--seconds", type=float, default=60.0, help="of videos alone")
    parser.add_argument("--dtype", default="float32", help="CPUs without bfloat16 units want float32")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="a handful, nothing written")
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(_SMOKE)
    return options


if __name__ == "__main__":
    sys.exit(main())
