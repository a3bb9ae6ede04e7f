"""What our step loop costs, and what sharing forwards gains, against diffusers' own pipeline.

Two questions, each answered by interleaved pairs (ours, theirs, ours, ...) and the median of their ratios, so
that a busy minute of the machine falls on both:

single  one picture, prompt to PIL image, through the engine and through FluxPipeline. Ceiling 1: both run the
        same block calls; the engine may win what the pipeline computes again at every step (rotary tables).
        Must be at most 1.03. Short runs, so three times as many pairs.
eight   the denoising of eight concurrent requests in shared forwards, against eight pipeline calls one after
        another with encoded prompts and without decoding. Ceiling: what wider matrix products gain at 64
        tokens on this CPU. Must be at most .75 in float32, .55 in bfloat16.

Both arms have the same weights, steps, seeds and threads, and every picture is checked to be the same to the
last bit before a ratio counts. Nothing else may run on the cores meanwhile.

    python -m benchmarks.engine_speed --steps 28 --pairs 5
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline

from benchmarks.reports import cpu_name
from workers.engine import Engine, Result, self_test
from workers.models import Model, load

LIMITS = {
    ("single", "float32"): 1.03,
    ("single", "bfloat16"): 1.03,
    ("eight", "float32"): 0.75,
    ("eight", "bfloat16"): 0.55,
}
PROMPT = "two red apples on a blue background"
ROWS = 8


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    scenarios = [figure for dtype in options.dtypes for figure in measure(options, dtype)]
    _print_table(scenarios)
    report = {
        "benchmark": "engine_speed",
        "command": shlex.join(["python", "-m", "benchmarks.engine_speed", *sys.argv[1:]]),
        "model": options.model,
        "steps": options.steps,
        "pairs": options.pairs,
        "threads": options.threads,
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "scenarios": scenarios,
        "passed": all(figure["passed"] for figure in scenarios),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))
    sys.exit(0 if report["passed"] else 1)


def measure(options: argparse.Namespace, dtype: str) -> list[dict[str, Any]]:
    """Both scenarios in one dtype."""
    model = load(options.model, dtype=dtype)
    self_test(model)
    pipeline = FluxPipeline.from_pretrained(model.pipeline.config._name_or_path, dtype=getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    arms = _Arms(model, pipeline, options.steps)
    return [
        _compare("single", dtype, 3 * options.pairs, arms.our_picture, arms.their_picture, images=1),
        _compare("eight", dtype, options.pairs, arms.our_eight, arms.their_eight, images=ROWS),
    ]


class _Arms:
    """The four things timed. Each returns its seconds and its latents or pixels."""

    def __init__(self, model: Model, pipeline: Any, steps: int) -> None:
        self._engine = Engine(model)
        self._pipeline = pipeline
        self._model = model.name
        self._steps = steps
        self._length = pipeline.tokenizer_2.model_max_length
        # Without gradients, as the pipeline: with them attention takes another kernel, with other bits.
        with torch.no_grad():
            self._embeds = pipeline.encode_prompt(PROMPT, max_sequence_length=self._length)[:2]

    def our_picture(self) -> tuple[float, list[bytes]]:
        started = time.perf_counter()
        (result,) = self._run([0])
        return time.perf_counter() - started, [result.samples[0].image.tobytes()]

    def their_picture(self) -> tuple[float, list[bytes]]:
        started = time.perf_counter()
        (image,) = self._call(0, prompt=PROMPT)
        return time.perf_counter() - started, [image.tobytes()]

    def our_eight(self) -> tuple[float, list[bytes]]:
        """Denoising alone: the jobs' shares of all turns, which add up to the turns' wall time."""
        results = self._run(range(ROWS))
        seconds = sum(result.stage_seconds["denoise"] for result in results)
        return seconds, [_bytes(result.samples[0].latents) for result in results]

    def their_eight(self) -> tuple[float, list[bytes]]:
        embeds = {"prompt_embeds": self._embeds[0], "pooled_prompt_embeds": self._embeds[1]}
        started = time.perf_counter()
        latents = [self._call(seed, output_type="latent", **embeds) for seed in range(ROWS)]
        return time.perf_counter() - started, [_bytes(each) for each in latents]

    def _run(self, seeds: Any) -> list[Result]:
        given = {"prompt": PROMPT, "num_inference_steps": self._steps, "width": 64, "height": 64}
        return self._engine.run([{"model": self._model, "input": {**given, "seed": seed}} for seed in seeds])

    def _call(self, seed: int, **given: Any) -> Any:
        return self._pipeline(
            width=64,
            height=64,
            num_inference_steps=self._steps,
            max_sequence_length=self._length,
            generator=torch.Generator("cpu").manual_seed(seed),
            **given,
        ).images


Arm = Callable[[], tuple[float, list[bytes]]]


def _compare(name: str, dtype: str, pairs: int, ours: Arm, theirs: Arm, *, images: int) -> dict[str, Any]:
    """Time pairs after one warm-up of each; refuse to compare what is not the same picture."""
    equal = ours()[1] == theirs()[1]
    timings = []
    for _ in range(pairs):
        (our_seconds, our_bytes), (their_seconds, their_bytes) = ours(), theirs()
        equal = equal and our_bytes == their_bytes
        timings.append((our_seconds, their_seconds))
    ratio = statistics.median(mine / other for mine, other in timings)
    our_median = statistics.median(mine for mine, _ in timings)
    limit = LIMITS[name, dtype]
    return {
        "scenario": name,
        "dtype": dtype,
        "ratio": round(ratio, 4),
        "limit": limit,
        "ratios": [round(mine / other, 4) for mine, other in timings],
        "seconds": round(our_median, 4),
        "diffusers_seconds": round(statistics.median(other for _, other in timings), 4),
        "images_per_second": round(images / our_median, 3),
        "bitwise_equal": equal,
        "passed": equal and ratio <= limit,
    }


def _bytes(latents: torch.Tensor) -> bytes:
    return latents.to(torch.float32).numpy().tobytes()


def _print_table(scenarios: list[dict[str, Any]]) -> None:
    print(f"{'scenario':10}{'dtype':10}{'ours s':>9}{'diffusers s':>13}{'ratio':>8}{'limit':>7}  equal")
    for figure in scenarios:
        print(
            f"{figure['scenario']:10}{figure['dtype']:10}{figure['seconds']:9.3f}{figure['diffusers_seconds']:13.3f}"
            f"{figure['ratio']:8.3f}{figure['limit']:7.2f}  {figure['bitwise_equal']}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="flux-tiny")
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"]
    )
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/results/engine_speed.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
