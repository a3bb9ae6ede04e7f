"""The command line's own client, the parser of its event stream, and the parts of the commands."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.cli import main
from server.cli.connecting import find_client
from server.cli.generate import BadOption, NotCompleted, _body, _model, _output, _store, add_arguments
from server.client import Client, SeenEvent, ServerRefused, parse_events
from server.places import NOTE_FILE
from tests.server.conftest import Hire, body


def test_events_are_parsed_as_the_standard_says() -> None:
    lines = [
        ": hello",
        "",
        "id: 3",
        "event: step",
        'data: {"a": 1}',
        "",
        "event: queued",
        "data:{}",
        "",
        "id: 9",
        "",
    ]
    assert list(parse_events(iter(lines))) == [
        ("3", SeenEvent("step", {"a": 1})),
        ("", SeenEvent("queued", {})),
    ]


async def test_a_job_through_the_client(url: str, hire: Hire) -> None:
    await hire()

    def use() -> list[str]:
        with Client(url) as client:
            assert client.is_rheostat()
            job = client.submit(body())
            names = [event.name for event in client.events(job["id"])]
            [artifact] = client.job(job["id"])["artifacts"]
            assert len(client.download(artifact["url"])) == artifact["bytes"]
            assert client.receipt(job["id"])["nfe"] == 4
            return names

    names = await asyncio.to_thread(use)
    assert [name for name in names if name != "queued"] == ["started", *["step"] * 4, "completed"]


async def test_a_refusal_names_field_and_what_is_allowed(url: str) -> None:
    with Client(url) as client, pytest.raises(ServerRefused) as caught:
        await asyncio.to_thread(client.submit, body(width=63))
    assert str(caught.value) == "input.width: width must be a multiple of 8 (allowed: [56, 64])"


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:1") as client:
        assert not client.is_rheostat()
        with pytest.raises(ServerRefused, match=r"no answer from http://127\.0\.0\.1:1"):
            client.models()


async def test_the_running_server_is_found_by_its_note(url: str, tmp_path: Path) -> None:
    (tmp_path / NOTE_FILE).write_text(json.dumps({"url": url, "pid": 1}))
    options = argparse.Namespace(url=None, key=None, data_dir=tmp_path)
    client = await asyncio.to_thread(find_client, options)
    assert client is not None
    with client:
        assert client.url == url


def options(*words: str) -> argparse.Namespace:
    """What `rheostat generate` reads of these words."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_the_arguments_become_the_native_body() -> None:
    words = [
        "x",
        "--seed",
        "7",
        "--steps",
        "8",
        "--n",
        "2",
        "--size",
        "64x32",
        "--budget",
        "0.5",
        "--deadline",
        "20",
    ]
    assert _body(options(*words), {"id": "flux-tiny"}) == {
        "model": "flux-tiny",
        "input": {"prompt": "x", "seed": 7, "num_inference_steps": 8, "n": 2, "width": 64, "height": 32},
        "compute_budget": 0.5,
        "deadline_s": 20.0,
    }
    assert _body(options("x"), {"id": "m"}) == {"model": "m", "input": {"prompt": "x"}}
    with pytest.raises(BadOption, match="WIDTHxHEIGHT"):
        _body(options("x", "--size", "64"), {"id": "m"})


def test_a_text_begins_with_the_prompt_and_music_with_a_file(tmp_path: Path) -> None:
    """`AAE=` is base64 of the bytes 0 and 1."""
    file = tmp_path / "two.mid"
    file.write_bytes(bytes([0, 1]))
    body = _body(options("a big", "--length", "9"), {"id": "t", "modality": "text"})
    assert body["input"] == {"given": {"prefix": "a big"}, "length": 9}
    body = _body(options("--midi", str(file), "--voices", "alto,bass"), {"id": "m", "modality": "music"})
    assert body["input"] == {"given": {"midi": "AAE=", "voices": ["alto", "bass"]}}
    assert _body(options(), {"id": "m", "modality": "music"})["input"] == {}


CLIPS = {"id": "clips", "modality": "video", "frames": {"multiple": 4, "max_frames": 81}, "fps": 16.0}
PICTURES = {"id": "pictures", "modality": "image", "frames": None, "fps": None}


@pytest.mark.parametrize(("seconds", "frames"), [(1.0, 17), (5.0, 81), (0.05, 1), (2.0, 33)])
def test_seconds_go_to_the_nearest_length(seconds: float, frames: int) -> None:
    """At 16 frames a second and 1, 5, 9, ... 81 frames: two seconds are 32 frames, and 33 is nearest."""
    asked = options("x", "--seconds", str(seconds))
    assert _body(asked, CLIPS)["input"] == {"prompt": "x", "num_frames": frames}
    with pytest.raises(BadOption, match="--seconds: pictures makes no videos"):
        _body(asked, PICTURES)
    with pytest.raises(BadOption, match=r"no video of about this length \(allowed: .*5\.0625"):
        _body(options("x", "--seconds", "9"), CLIPS)


def test_the_file_is_what_its_ending_says() -> None:
    assert _output(None, CLIPS) == Path("out.mp4")
    assert _output(None, PICTURES) == Path("out.png")
    assert _output(Path("a/b.MP4"), CLIPS) == Path("a/b.MP4")
    for asked, model in [("a.png", CLIPS), ("a", CLIPS), ("a.mp4", PICTURES), ("a.jpg", PICTURES)]:
        with pytest.raises(BadOption, match=f"^{asked}: {model['id']} makes .*, whose files end in "):
            _output(Path(asked), model)
    assert _output(Path("a.xyz"), {"id": "the server does not know it"}) == Path("a.xyz")


async def test_the_model_asked_for_or_the_only_one(url: str) -> None:
    with Client(url) as client:
        for asked, expected in [(None, "flux-tiny"), ("/some/flux-tiny", "flux-tiny"), ("other", "other")]:
            assert (await asyncio.to_thread(_model, client, asked))["id"] == expected


async def test_a_picture_that_is_not_its_sha256_is_refused(url: str, hire: Hire, tmp_path: Path) -> None:
    await hire()

    def use() -> None:
        with Client(url) as client:
            job = client.submit(body())
            for _ in client.events(job["id"]):
                pass
            job = client.job(job["id"])
            job["artifacts"][0]["sha256"] = "0" * 64
            with pytest.raises(NotCompleted, match="not what its sha256 says"):
                _store(client, job, tmp_path / "a.png")

    await asyncio.to_thread(use)
    assert not (tmp_path / "a.png").exists()


def test_wrong_calls_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["nonsense"], [], ["up", "--port", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
        assert "usage: rheostat" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--help"], ["up", "--help"], ["generate", "--help"], ["server", "--help"]]
)
def test_commands_start_quickly_and_without_torch(words: list[str]) -> None:
    """0.6 s on a quiet machine; a loaded one gets more, and what must not be imported is checked exactly."""
    program = (
        "import sys\nfrom server.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "assert not {'torch', 'diffusers', 'fastapi', 'workers'} & set(sys.modules), 'too much imported'\n"
    )
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "usage: rheostat" in run.stdout
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("command", ["worker", "calibrate"])
def test_worker_commands_are_passed_on(command: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "server", command, "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0
    assert f"python -m workers {command}" in run.stdout
