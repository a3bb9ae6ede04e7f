"""`rheostat generate` with models of text and music."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from protocol.midi import read_midi
from protocol.notes import Note
from server.cli import main
from workers.music import write_midi

pytestmark = pytest.mark.usefixtures("sequences")

MELODY = [Note(0, 0, 8, 67), Note(0, 8, 8, 69)]


async def generate(url: str, model: str, output: Path, *more: str) -> int:
    words = ["generate", "--url", url, "--model", model, "-o", str(output), "--seed", "7", *more]
    return await asyncio.to_thread(main, words)


@pytest.fixture
def melody(tmp_path: Path) -> Path:
    file = tmp_path / "melody.mid"
    file.write_bytes(write_midi(MELODY, 16))
    return file


@pytest.mark.usefixtures("sequence_studio")
async def test_a_text_begins_with_the_prompt(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.txt"
    assert await generate(url, "letters", out, "a big", "--length", "12", "--budget", "0.5") == 0
    text = out.read_text()
    assert (text[:5], len(text)) == ("a big", 12)
    assert "8 steps" not in (told := capsys.readouterr().out)
    assert "4 evaluations" in told


@pytest.mark.usefixtures("sequence_studio")
@pytest.mark.parametrize(
    ("ending", "begins"), [(".mid", b"MThd"), (".png", b"\x89PNG"), (".musicxml", b"<?xml")]
)
async def test_music_keeps_the_file_and_comes_as_its_ending_says(
    url: str, tmp_path: Path, melody: Path, ending: str, begins: bytes
) -> None:
    out = tmp_path / f"out{ending}"
    assert await generate(url, "voices", out, "--midi", str(melody), "--voices", "soprano") == 0
    assert out.read_bytes().startswith(begins)
    if ending == ".mid":
        assert [note for note in read_midi(out.read_bytes()) if note.part == 0] == MELODY


@pytest.mark.parametrize(
    ("model", "name", "more", "complaint"),
    [
        ("letters", "out.png", (), "letters makes texts, whose files end in .txt"),
        ("voices", "out.mp4", (), "voices makes music, whose files end in .mid or .png or .musicxml"),
        ("voices", "out.mid", ("--midi", "nowhere.mid"), "nowhere.mid cannot be read"),
        ("voices", "out.mid", ("a hymn",), "voices does not take prompt"),
        ("letters", "out.txt", ("A big",), "input.given.prefix"),
        ("flux-tiny", "out.png", (), "flux-tiny needs prompt"),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_runs(
    url: str, tmp_path: Path, model: str, name: str, more: tuple[str, ...], complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """No worker is there: a job that was taken would wait."""
    assert await generate(url, model, tmp_path / name, *more) == 1
    assert complaint in capsys.readouterr().err
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/v1/generations")).json()["data"] == []


async def test_models_are_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["models", "--url", url]) == 0
    assert "letters" in capsys.readouterr().out
