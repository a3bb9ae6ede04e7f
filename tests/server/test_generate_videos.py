"""`rheostat generate` with a model of videos."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from server.cli import main
from tests.server.conftest import OpenStudio

pytestmark = pytest.mark.usefixtures("wan")


async def generate(url: str, output: Path, *more: str) -> int:
    words = ["generate", "a red apple", "--url", url, "--model", "unipc", "-o", str(output), *more]
    return await asyncio.to_thread(main, words)


async def test_a_video_and_its_receipt(
    url: str, open_studio: OpenStudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a second at 8 frames a second: 3 and 5 frames are equally near, and the shorter one is taken."""
    await open_studio()
    out = tmp_path / "clip.mp4"
    assert await generate(url, out, "--seconds", "0.5", "--seed", "7", "--budget", "0.5") == 0
    assert out.read_bytes()[4:8] == b"ftyp"
    told = capsys.readouterr().out
    assert told.startswith(f"{out}  {out.stat().st_size:,} bytes, seed 7")
    assert "0.5 asked" in told
    async with httpx.AsyncClient(base_url=url) as http:
        [job] = (await http.get("/v1/generations")).json()["data"]
    assert job["artifacts"][0]["frames"] == 3


@pytest.mark.parametrize(
    ("name", "more", "complaint"),
    [
        ("clip.png", (), "unipc makes videos, whose files end in .mp4"),
        ("clip.mp4", ("--seconds", "60"), "--seconds: unipc makes no video of about this length"),
        ("clip.mp4", ("--frames", "4"), "input.num_frames: num_frames must be 1 more than a multiple of 2"),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_runs(
    url: str, tmp_path: Path, name: str, more: tuple[str, ...], complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """No worker is there: a job that was taken would wait."""
    assert await generate(url, tmp_path / name, *more) == 1
    assert complaint in capsys.readouterr().err
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/v1/generations")).json()["data"] == []
