"""`rheostat generate`: one request, its steps as they happen, what was made and its receipt."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protocol.errors import InvalidRequest, RheostatError
from server.client import Client, Json

DEFAULT_MODEL = "flux-tiny"
ENDINGS: dict[str, dict[str, str | None]] = {
    "image": {".png": None},
    "video": {".mp4": None},
    "text": {".txt": None},
    "music": {".mid": None, ".png": "roll", ".musicxml": "musicxml"},
}
"""By modality, what a file of it ends in, the usual first, and the variant it then holds."""
_MADE = {"image": "images", "video": "videos", "text": "texts", "music": "music"}
_INPUT = {
    "seed": "seed",
    "steps": "num_inference_steps",
    "n": "n",
    "frames": "num_frames",
    "length": "length",
}


class BadOption(RheostatError):
    """An option that does not go with the model; nothing has been run."""

    default_code = "bad_option"


class NotCompleted(RheostatError):
    """The job failed or was cancelled, or what it made is not what the receipt says."""

    default_code = "not_completed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from server.cli.connecting import add_connection_arguments

    parser.add_argument("prompt", nargs="?", help="of a picture or video; of a text, how it begins")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file to write, .png, .mp4, .txt or .mid as the model makes, of music also .musicxml or .png;"
        " default: out",
    )
    parser.add_argument("--model", help="default: the only one served, or flux-tiny")
    parser.add_argument("--budget", type=float, help="share of full compute to spend, in (0, 1]")
    parser.add_argument("--deadline", type=float, help="seconds in which it should be done")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, help="inference steps of the unabridged run")
    parser.add_argument("--size", help="WIDTHxHEIGHT, such as 64x64")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--frames", type=int, help="of a video")
    length.add_argument("--seconds", type=float, help="of a video; goes to the nearest the model can make")
    length.add_argument("--length", type=int, help="of a text, in tokens")
    parser.add_argument("--midi", type=Path, help="music to keep: a file of up to four voices")
    parser.add_argument("--voices", help="those of the file to keep, such as soprano,bass; default: all")
    parser.add_argument("--n", type=int, help="how many, with seeds counted up")
    parser.add_argument("--json", action="store_true", help="print the whole receipt as JSON")
    add_connection_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from server.cli.progress import StepProgress

    with _server(options) as client:
        model = _model(client, options.model)
        output = _output(options.output, model)
        job = client.submit(_body(options, model))
        try:
            with StepProgress(job) as progress:
                for event in client.events(job["id"]):
                    progress.show(event)
        except KeyboardInterrupt:
            client.cancel(job["id"])
            raise
        job = client.job(job["id"])
        _require_completed(job)
        files = _store(client, job, output)
        receipt = client.receipt(job["id"])
    _report(options, job, receipt, files)
    return 0


@contextmanager
def _server(options: argparse.Namespace) -> Iterator[Client]:
    """A running server, or one started for this call and ended after it."""
    from server.cli.connecting import find_client

    client = find_client(options)
    if client is not None:
        with client:
            yield client
        return
    from server.local import LocalOptions, LocalSystem

    system = LocalSystem(LocalOptions(options.data_dir, port=0, models=options.model, quiet=True))
    try:
        _say("No server runs here: starting one for this call")
        system.start()
        system.wait_ready()
        with Client(system.url, options.key) as client:
            yield client
    finally:
        system.stop()


def _model(client: Client, asked: str | None) -> Json:
    """The model as the server lists it, just its name if it does not; a folder goes by its last part."""
    known: dict[str, Json] = {model["id"]: model for model in client.models()}
    if asked is None:
        name = next(iter(known)) if len(known) == 1 else DEFAULT_MODEL
    else:
        name = asked if asked in known else Path(asked).name
    return known.get(name, {"id": asked or name})


def _output(asked: Path | None, model: Json) -> Path:
    """Where the first result goes.

    Raises:
        BadOption: a file that would not hold what its ending says.
    """
    modality = model.get("modality", "image")
    endings = [*ENDINGS.get(modality, ())]
    if asked is None:
        return Path("out").with_suffix(endings[0] if endings else "")
    if "modality" in model and endings and asked.suffix.lower() not in endings:
        made = f"{model['id']} makes {_MADE[modality]}, whose files end in {' or '.join(endings)}"
        raise BadOption(f"{asked}: {made}")
    return asked


def _frames(seconds: float, model: Json) -> int:
    """The number of frames nearest to a length.

    Raises:
        BadOption: the model makes no videos, or none of about this length.
    """
    from protocol.catalog import FrameLimits
    from server.lengths import frames_for

    if model.get("frames") is None or model.get("fps") is None:
        raise BadOption(f"--seconds: {model['id']} makes no videos")
    try:
        return frames_for(seconds, model["id"], FrameLimits(**model["frames"]), model["fps"])
    except InvalidRequest as error:
        allowed = json.dumps(error.details["allowed"])
        raise BadOption(f"--seconds: {error.message} (allowed: {allowed})") from error


def _body(options: argparse.Namespace, model: Json) -> Json:
    given: Json = _start(options, model)
    for option, field in _INPUT.items():
        if getattr(options, option) is not None:
            given[field] = getattr(options, option)
    if options.size is not None:
        width, _, height = options.size.partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise BadOption("--size must be WIDTHxHEIGHT, such as 64x64")
        given |= {"width": int(width), "height": int(height)}
    if options.seconds is not None:
        given["num_frames"] = _frames(options.seconds, model)
    body: Json = {"model": model["id"], "input": given}
    if options.budget is not None:
        body["compute_budget"] = options.budget
    if options.deadline is not None:
        body["deadline_s"] = options.deadline
    return body


def _start(options: argparse.Namespace, model: Json) -> Json:
    """What the result is made from: a prompt, or what is given."""
    given: Json = {}
    if options.midi is not None:
        given["midi"] = base64.b64encode(_contents(options.midi)).decode()
    if options.voices is not None:
        given["voices"] = options.voices.split(",")
    if options.prompt is not None and model.get("modality") == "text":
        return {"given": {"prefix": options.prompt, **given}}
    start: Json = {} if options.prompt is None else {"prompt": options.prompt}
    return start | ({"given": given} if given else {})


def _contents(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadOption(f"--midi: {file} cannot be read ({error.strerror})") from error


def _require_completed(job: Json) -> None:
    if job["status"] != "completed":
        reason = job["error"]["message"] if job["error"] else "no reason given"
        raise NotCompleted(f"the job {job['id']} ended as {job['status']}: {reason}")


def _store(client: Client, job: Json, output: Path) -> list[Path]:
    """Every result in a file, checked against its sha256; the second goes to `name-2.png` and so on."""
    output.parent.mkdir(parents=True, exist_ok=True)
    files = []
    for number, whole in enumerate(job["artifacts"], start=1):
        artifact = _file_of(whole, output)
        data = client.download(artifact["url"])
        if hashlib.sha256(data).hexdigest() != artifact["sha256"]:
            raise NotCompleted(f"artifact {number} of {job['id']} is not what its sha256 says")
        file = output if number == 1 else output.with_stem(f"{output.stem}-{number}")
        file.write_bytes(data)
        files.append(file)
    return files


def _file_of(artifact: Json, output: Path) -> Json:
    """The artifact, or its variant that the ending asks for."""
    kinds = [kinds for kinds in ENDINGS.values() if output.suffix.lower() in kinds]
    variants = artifact.get("variants", {})
    named = next((name for kind in kinds if (name := kind[output.suffix.lower()]) in variants), None)
    return artifact if named is None else dict(variants[named])


def _report(options: argparse.Namespace, job: Json, receipt: Json, files: list[Path]) -> None:
    if options.json:
        print(json.dumps(receipt, indent=2))
        return
    for line in summary(job, receipt, files):
        print(line)


def summary(job: Json, receipt: Json, files: list[Path]) -> list[str]:
    """The receipt in a few lines."""
    lines: list[str] = []
    for file, whole in zip(files, job["artifacts"], strict=True):
        artifact = {**whole, **_file_of(whole, file)}
        lines.append(f"{file}  {artifact['bytes']:,} bytes, seed {artifact['seed']}")
        lines.append(f"  sha256   {artifact['sha256']}")
    steps = [sample["plan"]["num_inference_steps"] for sample in receipt["samples"]]
    rows: list[tuple[str, Any]] = [
        (
            "job",
            f"{job['id']}, {job['model']}, {steps[0] if steps else 0} steps, {receipt['nfe']} evaluations",
        ),
        (
            "budget",
            f"{receipt['budget']:.3g} asked, {receipt['granted']:.3g} granted, {receipt['spent']:.3g} spent",
        ),
        ("plan", _plan(receipt)),
        (
            "compute",
            f"{receipt['tflops']:.4g} of {receipt['full_tflops']:.4g} TFLOPs"
            f" and {receipt['other_tflops']:.4g} in encoders and decoder",
        ),
        ("time", f"{receipt['wall_s']:.2f} s"),
    ]
    return lines + [f"  {name:<8} {text}" for name, text in rows]


def _plan(receipt: Json) -> str:
    """The method, and how far from the unabridged run it was measured to end."""
    plans = [sample["plan"] for sample in receipt["samples"]]
    plan = plans[0] if plans else {}
    name = " + ".join(plan.get("methods", ())) or "unabridged"
    expected = plan.get("expected_distance")
    if expected is None:
        return name if name == "unabridged" else f"{name}, not calibrated"
    return f"{name}, {expected:.2g} from the unabridged run expected"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
