"""What asks for a video, and what is refused: by the name of the field, with what would be accepted."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from protocol.catalog import CatalogEntry, FrameLimits, InputDefaults, SizeLimits
from protocol.jobqueue import Catalog, JobQueue
from server import openai_videos
from server.openai_videos import VideoRequest, to_native
from tests.protocol.entries import wan_entry
from tests.server.conftest import Gateways
from tests.server.test_access import ALICE, BOB, KEYS

ENTRY = wan_entry(
    name="wan-tiny",
    sizes=SizeLimits(multiple=16, min_side=32, max_side=64, max_pixels=64 * 64),
    frames=FrameLimits(multiple=4, max_frames=17),
    fps=8.0,
    defaults=InputDefaults(width=32, height=32, num_inference_steps=20, guidance_scale=5.0, num_frames=9),
)
VIDEO = {"prompt": "two red apples"}
FORM = "multipart/form-data; boundary=xx"


@pytest_asyncio.fixture
async def wan(jobqueue: JobQueue, serve: Gateways) -> CatalogEntry:
    """Nobody runs it: here nothing is made."""
    await Catalog(jobqueue).put(ENTRY)
    return ENTRY


def frames_for(seconds: Any) -> int | None:
    video = VideoRequest.model_validate({**VIDEO, "seconds": seconds})
    return to_native(video, ENTRY).input.num_frames


@pytest.mark.parametrize(
    ("seconds", "num_frames"),
    [
        ("1", 9), (1, 9), (1.0, 9), ("1.125", 9), ("0.9", 9),  # 9 frames are 1.125 s
        ("1.3", 9), ("1.4", 13),  # 10.4 and 11.2 frames: 9 or 13
        ("0.01", 1), ("2", 17), ("2.3", 17),  # 16 and 18.4 frames
        (None, None),
    ],
)  # fmt: skip
def test_seconds_go_to_the_nearest_length(seconds: Any, num_frames: int | None) -> None:
    assert frames_for(seconds) == num_frames


async def test_a_length_nobody_makes_is_refused_with_those_that_are(
    wan: CatalogEntry, http: httpx.AsyncClient
) -> None:
    """4, 8 and 12 are what OpenAI's own models make; this one stops at 17 frames, 2.125 s."""
    answer = await http.post("/v1/videos", json={**VIDEO, "seconds": "4"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "invalid_value", "seconds")
    assert error["details"]["allowed"] == ["0.125", "0.625", "1.125", "1.625", "2.125"]


async def test_the_model_that_makes_videos_need_not_be_named(
    wan: CatalogEntry, http: httpx.AsyncClient, serve: Gateways, jobqueue: JobQueue
) -> None:
    """flux-tiny stands in the catalog too, and its default stays for images."""
    assert (await http.post("/v1/videos", json=VIDEO)).json()["model"] == "wan-tiny"
    asynchronous = {"Prefer": "respond-async"}
    image = await http.post("/v1/images/generations", json=VIDEO, headers=asynchronous)
    assert image.json()["model"] == "flux-tiny"
    await Catalog(jobqueue).put(ENTRY.model_copy(update={"name": "wan-other"}))
    unclear = await http.post("/v1/videos", json=VIDEO)
    assert unclear.json()["error"]["details"]["allowed"] == ["wan-other", "wan-tiny"]
    async with httpx.AsyncClient(base_url=await serve(default_model="wan-other")) as other:
        assert (await other.post("/v1/videos", json=VIDEO)).json()["model"] == "wan-other"
        image = await other.post("/v1/images/generations", json=VIDEO, headers=asynchronous)
        assert image.json()["model"] == "flux-tiny"


async def test_a_model_that_makes_something_else(wan: CatalogEntry, http: httpx.AsyncClient) -> None:
    for path, model, allowed in (
        ("/v1/videos", "flux-tiny", "wan-tiny"),
        ("/v1/images/generations", "wan-tiny", "flux-tiny"),
    ):
        answer = await http.post(path, json={**VIDEO, "model": model})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["details"]) == (
            422,
            "model",
            {"allowed": [allowed]},
        )


REFUSED: dict[str, tuple[int, str | None, Mapping[str, Any]]] = {
    "no prompt": (422, "prompt", {"prompt": None}),
    "unknown model": (422, "model", {"model": "sora-2"}),
    "unknown field": (422, "colour", {"colour": "red"}),
    "n": (422, "n", {"n": 2}),
    "size": (422, "size", {"size": "720x1280"}),
    "odd size": (422, "size", {"size": "33x32"}),
    "size as words": (422, "size", {"size": "small"}),
    "seconds 0": (422, "seconds", {"seconds": "0"}),
    "seconds below 0": (422, "seconds", {"seconds": -1}),
    "seconds as words": (422, "seconds", {"seconds": "long"}),
    "seconds NaN": (422, "seconds", {"seconds": float("nan")}),
    "frames between": (422, "num_frames", {"num_frames": 8}),
    "frames beyond": (422, "num_frames", {"num_frames": 21}),
    "two lengths": (422, None, {"num_frames": 9, "seconds": "1"}),
    "steps": (422, "num_inference_steps", {"num_inference_steps": 0}),
    "budget": (422, "compute_budget", {"compute_budget": 2}),
    "budget's field": (422, "compute_budget.half", {"compute_budget": {"half": 1}}),
    "too small a budget": (422, "compute_budget", {"compute_budget": 0.001}),
    "an image to start from": (422, "input_reference", {"input_reference": "data:image/png;base64,aGk="}),
    "the same as an object": (422, "input_reference", {"input_reference": {"image_url": "aGk="}}),
    "a file of OpenAI's": (422, "input_reference", {"input_reference": {"file_id": "file_1"}}),
}


async def test_refused_by_name(wan: CatalogEntry, http: httpx.AsyncClient) -> None:
    seen = {}
    for name, (_, _, fields) in REFUSED.items():
        content = json.dumps({**VIDEO, **fields})
        seen[name] = await refusal(http, content, "application/json")
    assert seen == {name: (status, param) for name, (status, param, _) in REFUSED.items()}
    assert (await http.get("/v1/videos")).json()["data"] == []


async def refusal(http: httpx.AsyncClient, content: str, content_type: str) -> tuple[int, str | None]:
    answer = await http.post("/v1/videos", content=content.encode(), headers={"Content-Type": content_type})
    return answer.status_code, answer.json()["error"]["param"]


def part(name: str, value: str, more: str = "") -> str:
    return f'--xx\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


HELLO = part("prompt", "hi")
FORMS: dict[str, tuple[str, str, int, str | None]] = {
    "frames as words": (FORM, HELLO + part("num_frames", "four") + "--xx--", 422, "num_frames"),
    "1e999": (FORM, HELLO + part("guidance_scale", "1e999") + "--xx--", 422, "guidance_scale"),
    "5,000 digits": (FORM, HELLO + part("seed", "9" * 5000) + "--xx--", 422, "seed"),
    "twice": (FORM, part("seed", "1") + part("seed", "2") + "--xx--", 400, "seed"),
    "twice, deep": (
        FORM, part("compute_budget[mode]", "soft") + part("compute_budget", "1") + "--xx--", 400,
        "compute_budget",
    ),
    "a file for a prompt": (FORM, part("prompt", "hi", '; filename="a.txt"') + "--xx--", 422, "prompt"),
    "unknown": (FORM, HELLO + part("colour", "red") + "--xx--", 422, "colour"),
    "too deep": (FORM, part("a[b][c][d][e]", "1") + "--xx--", 400, "a.b.c.d.e"),
    "brackets": (FORM, part("a[b", "1") + "--xx--", 400, None),
    "too many": (FORM, "".join(part(f"f{n}", "1") for n in range(200)) + "--xx--", 400, None),
    "no end": (FORM, HELLO, 400, None),
    "no name": (FORM, "--xx\r\nContent-Disposition: form-data\r\n\r\nhi\r\n--xx--", 400, None),
    "no disposition": (FORM, "--xx\r\n\r\nhi\r\n--xx--", 400, None),
    "other boundary": (FORM, HELLO.replace("xx", "xxy") + "--xxy--", 400, None),
    "no boundary": ("multipart/form-data", HELLO + "--xx--", 400, None),
    "empty": (FORM, "", 400, None),
    "empty, encoded": ("application/x-www-form-urlencoded", "", 422, "prompt"),
    "not encoded": ("application/x-www-form-urlencoded", "prompt", 400, None),
    "no Unicode": ("application/x-www-form-urlencoded", "prompt=%ff%fe", 422, "prompt"),
    "NUL": ("application/x-www-form-urlencoded", "prompt=a%00b", 422, "prompt"),
    "text": ("text/plain", "prompt", 415, None),
}  # fmt: skip


async def test_bad_forms(wan: CatalogEntry, http: httpx.AsyncClient) -> None:
    seen = {name: await refusal(http, form[1], form[0]) for name, form in FORMS.items()}
    assert seen == {name: form[2:] for name, form in FORMS.items()}
    assert (await http.get("/v1/videos")).json()["data"] == []


def test_a_file_is_the_image_to_start_from() -> None:
    """Bytes of every value, line ends and something like a boundary among them, come through whole."""
    data = bytes(range(256)) + b"\r\n--x\r\n\r\n"
    head = part("input_reference", "", '; filename="a \\"b\\".png"').removesuffix("\r\n").encode()
    body = part("prompt", "17").encode() + head + data + b"\r\n--xx--\r\n"
    video = VideoRequest.model_validate(openai_videos.read_form(body, FORM))
    entry = ENTRY.model_copy(update={"input_fields": (*ENTRY.input_fields, "image")})
    image = to_native(video, entry).input.image
    assert image is not None
    assert base64.b64decode(image) == data
    assert video.prompt == "17"


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
async def test_openais_client_sends_a_file(wan: CatalogEntry, url: str) -> None:
    """wan-tiny starts from no image, and says so by the name the caller knows."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none-needed", max_retries=0) as client:
        create = partial(client.videos.create, prompt="x", input_reference=("a.png", b"\x89PNG\r\n"))
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            await asyncio.to_thread(create)
    assert (caught.value.param, caught.value.code) == ("input_reference", "invalid_value")


async def test_videos_are_their_tenants_own(wan: CatalogEntry, serve: Gateways) -> None:
    async with httpx.AsyncClient(base_url=await serve(api_keys=KEYS)) as http:
        assert (await http.post("/v1/videos", json=VIDEO)).status_code == 401
        made = (await http.post("/v1/videos", json=VIDEO, headers=ALICE)).json()
        path = f"/v1/videos/{made['id']}"
        assert (await http.get(path, headers=ALICE)).status_code == 200
        for method in ("GET", "DELETE"):
            assert (await http.request(method, path, headers=BOB)).status_code == 404
        assert (await http.get("/v1/videos", headers=BOB)).json()["data"] == []
        refused = await http.post("/v1/videos", json=VIDEO, headers=BOB)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
