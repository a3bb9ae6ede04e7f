"""Text and music over HTTP, made by a real engine: a soprano is harmonised, a text completed, on a budget."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import mido
import openai
import pytest
from PIL import Image

from protocol.cost import price
from protocol.jobs import GenerationRequest
from protocol.midi import read_midi
from protocol.notes import Note
from protocol.resolve import resolve
from server.client import parse_events
from tests.server.conftest import ended

Make = Callable[..., Awaitable[dict[str, Any]]]

MELODY = [Note(0, 0, 4, 67), Note(0, 4, 4, 69), Note(0, 8, 8, 71)]


@pytest.fixture
def make(sequence_studio: None, http: httpx.AsyncClient) -> Make:
    """Sends a request to a worker that serves both; the job once it has ended."""

    async def made(model: str, budget: float = 1.0, **given: Any) -> dict[str, Any]:
        answer = await http.post("/v1/generations", json=body(model, budget, **given))
        assert answer.status_code == 202, answer.text
        return await ended(http, answer.json()["id"], within_s=60)

    return made


def body(model: str, budget: float = 1.0, **given: Any) -> dict[str, Any]:
    return {"model": model, "input": {"seed": 7, **given}, "compute_budget": budget}


def midi(*voices: list[Note]) -> str:
    """A file with a track a voice, 24 ticks a sixteenth, as base64."""
    file = mido.MidiFile(ticks_per_beat=96)
    for notes in voices:
        track, now = mido.MidiTrack(), 0
        for note in notes:
            track.append(mido.Message("note_on", note=note.pitch, time=24 * note.start - now))
            track.append(mido.Message("note_off", note=note.pitch, time=24 * note.length))
            now = 24 * note.end
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def soprano_of(data: bytes) -> list[Note]:
    return [note for note in read_midi(data) if note.part == 0]


@pytest.mark.parametrize(("budget", "evaluations"), [(1.0, 8), (0.5, 4), (0.25, 2)])
async def test_a_text_is_completed(
    make: Make, http: httpx.AsyncClient, sequences: dict[str, Any], budget: float, evaluations: int
) -> None:
    """The same text as the engine's own, its prefix kept; spent is evaluations times their price."""
    from workers.engine import Engine

    job = await make("letters", budget, given={"prefix": "a big "})
    assert job["status"] == "completed"
    (artifact,) = job["artifacts"]
    answer = await http.get(artifact["url"])
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("a big ")
    asked = body("letters", budget, given={"prefix": "a big "})
    (result,) = await asyncio.to_thread(Engine(sequences["letters"]).run, [asked])
    assert answer.text == result.samples[0].text
    entry = sequences["letters"].catalog
    cost = price(entry, resolve(GenerationRequest.model_validate(asked), entry))
    assert job["compute"]["tflops"] == evaluations * cost.per_step_flop[0] / 1e12
    assert (job["compute"]["nfe"], job["compute"]["spent"]) == (evaluations, budget)
    assert job["progress"] == {"step": evaluations, "num_steps": evaluations, "fraction": 1.0}


@pytest.mark.parametrize("budget", [1.0, 0.5, 0.25])
async def test_a_soprano_is_harmonised(make: Make, http: httpx.AsyncClient, budget: float) -> None:
    """MIDI in; MIDI, picture and score out, the soprano as it was given."""
    job = await make("voices", budget, given={"midi": midi(MELODY)})
    assert job["status"] == "completed"
    (artifact,) = job["artifacts"]
    assert (artifact["media_type"], artifact["steps"]) == ("audio/midi", 16)
    played = (await http.get(artifact["url"])).content
    assert soprano_of(played) == MELODY
    roll = artifact["variants"]["roll"]
    with Image.open(io.BytesIO((await http.get(roll["url"])).content)) as picture:
        assert (picture.format, picture.size) == ("PNG", (roll["width"], roll["height"]))
    score = await http.get(artifact["variants"]["musicxml"]["url"])
    assert score.headers["content-type"] == "application/vnd.recordare.musicxml+xml"
    parts = ET.fromstring(score.content.split(b"\n", 2)[2]).findall("part")
    assert [step.text for step in parts[0].iter("step")] == ["G", "A", "B"]
    assert (await http.get(f"{artifact['url']}&variant=midi")).content == played
    assert (await http.get(f"{artifact['url']}&variant=video")).status_code == 404


async def test_bars_and_voices_of_a_file_are_kept(make: Make, http: httpx.AsyncClient) -> None:
    bass = [Note(0, 0, 16, 50)]
    job = await make("voices", given={"midi": midi(MELODY, bass), "voices": ["alto"], "bars": [1, 1]})
    played = read_midi((await http.get(job["artifacts"][0]["url"])).content)
    assert [note for note in played if note.pitch == 50 and note.length == 16] == [Note(1, 0, 16, 50)]


async def test_the_events_and_the_receipt(make: Make, http: httpx.AsyncClient) -> None:
    job = await make("letters", 0.5)
    lines = (await http.get(job["events_url"])).text.split("\n")
    told = [(event.name, event.data.get("action")) for _, event in parse_events(iter(lines))]
    assert told == [("started", None), *[("step", "full")] * 4, ("completed", None)]
    receipt = (await http.get(f"{job['status_url']}/receipt")).json()
    (sample,) = receipt["samples"]
    assert [line["reason"] for line in sample["steps"]] == ["predict", "predict", "correct", "denoise"]
    assert (sample["plan"]["solver"], sample["plan"]["methods"]) == ("blocks", ["steps"])
    assert sample["output"]["media_type"] == "text/plain"
    assert sample["output"]["width"] is None


async def test_many_at_once_give_what_each_gives_alone(make: Make, http: httpx.AsyncClient) -> None:
    async def text(**asked: Any) -> str:
        job = await make("letters", **asked)
        return (await http.get(job["artifacts"][0]["url"])).text

    wanted = [{"seed": seed, "budget": budget} for seed, budget in ((1, 1.0), (2, 0.5), (3, 0.25))]
    alone = [await text(**asked) for asked in wanted]
    assert await asyncio.gather(*(text(**asked) for asked in wanted)) == alone


async def test_all_tokens_given(make: Make, http: httpx.AsyncClient) -> None:
    text = "abcdefghij abcdefghij abcdefghij"
    job = await make("letters", given={"prefix": text})
    assert (job["status"], job["compute"]["nfe"], job["compute"]["tflops"]) == ("completed", 0, 0.0)
    assert (await http.get(job["artifacts"][0]["url"])).text == text


FIVE = [[Note(0, 0, 4, 60 + voice)] for voice in range(5)]


@pytest.mark.parametrize(
    ("model", "given", "param"),
    [
        ("letters", {"given": {"prefix": "a" * 33}}, "input.given.prefix"),
        ("letters", {"given": {"prefix": "xyzzy"}}, "input.given.prefix"),
        ("letters", {"given": {"spans": [{"start": 30, "text": "abc"}]}}, "input.given.spans"),
        ("letters", {"given": {"tokens": [0, 12]}}, "input.given.tokens"),
        ("letters", {"given": {"soprano": [60]}}, "input.given.soprano"),
        ("letters", {"prompt": "xyzzy"}, "input.prompt"),
        ("letters", {"length": 33}, "input.length"),
        ("letters", {"width": 64}, "input.width"),
        ("voices", {"given": {"midi": midi(*FIVE)}}, "input.given.midi"),
        ("voices", {"given": {"midi": "xyzzy!"}}, "input.given.midi"),
        ("voices", {"given": {"midi": midi([Note(0, 16, 4, 60)])}}, "input.given.midi"),
        ("voices", {"given": {"midi": midi([Note(0, 0, 4, 100)])}}, "input.given.midi"),
        ("voices", {"given": {"alto": [47]}}, "input.given.alto"),
        ("voices", {"given": {"alto": ["hold"] * 17}}, "input.given.alto"),
        ("voices", {"length": 32}, "input.length"),
        ("flux-tiny", {"prompt": "x", "given": {"prefix": "a"}}, "input.given"),
        ("flux-tiny", {}, "input.prompt"),
    ],
)
async def test_what_does_not_fit_is_refused_by_name(
    sequences: dict[str, Any], http: httpx.AsyncClient, model: str, given: dict[str, Any], param: str
) -> None:
    answer = await http.post("/v1/generations", json=body(model, **given))
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert "xyzzy" not in answer.text
    assert (await http.get("/v1/generations")).json()["data"] == []


async def test_too_small_a_budget_names_the_least(sequences: dict[str, Any], http: httpx.AsyncClient) -> None:
    error = (await http.post("/v1/generations", json=body("letters", 0.1))).json()["error"]
    assert (error["code"], error["details"]["min_fraction"]) == ("budget_too_small", 0.125)


async def test_models_say_what_they_take(sequences: dict[str, Any], http: httpx.AsyncClient) -> None:
    shown = {model["id"]: model for model in (await http.get("/v1/models")).json()["data"]}
    letters, voices = shown["letters"], shown["voices"]
    assert (letters["family"], letters["modality"], voices["modality"]) == ("sedd", "text", "music")
    assert letters["lengths"] == {"min_length": 1, "max_length": 32}
    assert letters["vocabulary"]["characters"] == "abcdefghij \n"
    assert (letters["sizes"], letters["min_budget"]) == (None, 0.125)
    assert {"given", "length"} <= set(letters["input_fields"])
    assert {"gadd-paper", "blocks", "steps"} <= set(letters["methods"])


async def test_openais_client_lists_them_and_hears_that_they_make_no_pictures(
    sequences: dict[str, Any], url: str
) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none-needed", max_retries=0) as client:
        listed = await asyncio.to_thread(client.models.list)
        assert {"letters", "voices"} <= {model.id for model in listed.data}
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            await asyncio.to_thread(partial(client.images.generate, prompt="a", model="letters"))
        assert caught.value.param == "model"
