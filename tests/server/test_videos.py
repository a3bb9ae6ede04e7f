"""OpenAI's own client, unmodified, against the videos routes, with a real engine that makes the clips."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import av
import httpx
import numpy as np
import openai
import pytest
from openai.types.video import Video
from PIL import Image

from protocol.jobqueue import Catalog, JobQueue
from server.client import parse_events
from tests.server.conftest import OpenStudio, body, ended

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
    pytest.mark.usefixtures("wan"),
]

MODEL = "unipc"
"""The tiny Wan: 32 x 32 pixels, 5 frames, 8 of them a second; up to 17 frames."""
PROMPT = "a red apple on a white background"
LONG = {"num_inference_steps": 600}
LUMA = (0.2126, 0.7152, 0.0722)


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none-needed", max_retries=0) as client:
        yield client


async def made(client: openai.OpenAI, **changes: Any) -> Video:
    asked = {"prompt": PROMPT, "model": MODEL, "extra_body": {"seed": 7}, **changes}
    video: Video = await asyncio.to_thread(partial(client.videos.create_and_poll, **asked))
    return video


def frames_of(data: bytes) -> np.ndarray[Any, Any]:
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


async def test_openais_client_gets_a_video_that_plays(
    client: openai.OpenAI, open_studio: OpenStudio, wan: Any
) -> None:
    """What plays is what the engine makes for the same request without queue and HTTP."""
    from workers.engine import Engine

    await open_studio()
    extra = {"seed": 7, "compute_budget": {"fraction": 0.5, "methods": ["steps"]}}
    video = await made(client, seconds="1", size="32x32", extra_body=extra)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    # One second at 8 frames a second; legal are 1, 3, 5, ... 17, and 7 and 9 are equally near.
    assert (video.seconds, video.size, video.prompt) == ("0.875", "32x32", PROMPT)
    assert video.completed_at is not None
    assert video.expires_at == video.completed_at + 86_400
    fetched = await asyncio.to_thread(client.videos.download_content, video.id)
    assert fetched.response.headers["content-type"] == "video/mp4"
    played = frames_of(fetched.read())
    given = {"prompt": PROMPT, "seed": 7, "num_frames": 7, "width": 32, "height": 32}
    [result] = await asyncio.to_thread(
        Engine([wan]).run, [{"model": MODEL, "input": given, "compute_budget": extra["compute_budget"]}]
    )
    frames = result.samples[0].video
    assert played.shape == frames.shape == (7, 32, 32, 3)
    # Random weights make colour noise, of which yuv420p keeps a quarter; brightness is kept whole.
    assert np.abs((played - frames.astype(float)) @ LUMA).mean() < 3
    assert video.model_extra is not None
    assert video.model_extra["compute"]["granted"] == 0.5


async def test_the_stills(client: openai.OpenAI, open_studio: OpenStudio) -> None:
    await open_studio()
    video = await made(client)
    fetched = {}
    for variant in ("video", "thumbnail", "spritesheet"):
        fetched[variant] = await asyncio.to_thread(
            partial(client.videos.download_content, video.id, variant=variant)
        )
    frames = frames_of(fetched["video"].read())
    thumbnail = Image.open(io.BytesIO(fetched["thumbnail"].read()))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (32, 32))
    # Its middle frame, and no other: noise of random weights differs by far more.
    off = [np.abs(np.asarray(thumbnail).astype(int) - frame).mean() for frame in frames]
    assert int(np.argmin(off)) == 2
    sheet = Image.open(io.BytesIO(fetched["spritesheet"].read()))
    assert (sheet.format, sheet.size) == ("JPEG", (96, 64))


async def test_states_on_the_way(
    client: openai.OpenAI, http: httpx.AsyncClient, open_studio: OpenStudio
) -> None:
    video = await asyncio.to_thread(
        partial(client.videos.create, prompt=PROMPT, model=MODEL, extra_body={**LONG, "seed": 7})
    )
    assert (video.status, video.progress, video.seconds) == ("queued", 0, "0.625")
    early = await http.get(f"/v1/videos/{video.id}/content")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "not_completed")
    assert early.headers["x-should-retry"] == "false"
    await open_studio()
    seen: list[Video] = []
    while not seen or seen[-1].status != "in_progress" or not 0 < seen[-1].progress < 100:
        seen.append(await asyncio.to_thread(client.videos.retrieve, video.id))
        assert len(seen) < 2000
    refused = await http.delete(f"/v1/videos/{video.id}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_ended")
    await http.post(f"/v1/generations/{video.id}/cancel")
    await ended(http, video.id)
    stopped = await asyncio.to_thread(client.videos.retrieve, video.id)
    assert stopped.status == "failed"
    assert stopped.error is not None
    assert stopped.error.code == "cancelled"


async def test_a_failed_video_is_an_answer_not_an_error(
    client: openai.OpenAI, http: httpx.AsyncClient, jobqueue: JobQueue, wan: Any, open_studio: OpenStudio
) -> None:
    """Accepted for weights that no worker has: the worker refuses it by name."""
    await Catalog(jobqueue).put(wan.catalog.model_copy(update={"digest": "0" * 64}))
    await open_studio()
    video = await made(client)
    assert video.status == "failed"
    assert video.error is not None
    assert (video.error.code, video.error.param) == ("model_changed", "model")
    nothing = await http.get(f"/v1/videos/{video.id}/content")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (409, "not_completed")


async def test_pages_of_videos_without_the_images_between(
    client: openai.OpenAI, http: httpx.AsyncClient
) -> None:
    ids = []
    for _ in range(3):
        await http.post("/v1/generations", json=body())
        ids.append((await asyncio.to_thread(partial(client.videos.create, prompt=PROMPT, model=MODEL))).id)
    await http.put(
        "/v1/generations/by-hand", json={"model": MODEL, "input": {"prompt": PROMPT, "num_frames": 3}}
    )
    ids.append("by-hand")
    newest = await asyncio.to_thread(lambda: [video.id for video in client.videos.list(limit=3)])
    oldest = await asyncio.to_thread(lambda: [video.id for video in client.videos.list(limit=2, order="asc")])
    assert sorted(newest) == sorted(ids)
    assert oldest == newest[::-1]
    first = (await http.get("/v1/videos?limit=3")).json()
    assert (len(first["data"]), first["has_more"], first["last_id"]) == (3, True, newest[2])
    rest = (await http.get(f"/v1/videos?limit=3&after={newest[2]}")).json()
    assert ([video["id"] for video in rest["data"]], rest["has_more"]) == ([newest[3]], False)
    image = (await http.get("/v1/generations")).json()["data"]
    [other] = [job["id"] for job in image if job["model"] == "flux-tiny"][:1]
    assert (await http.get(f"/v1/videos/{other}")).status_code == 404


async def test_a_deleted_video_is_gone_with_its_files(
    client: openai.OpenAI, http: httpx.AsyncClient, open_studio: OpenStudio, tmp_path: Any
) -> None:
    await open_studio()
    video, other = await made(client), await made(client, extra_body={"seed": 8})
    deleted = await asyncio.to_thread(client.videos.delete, video.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (video.id, True, "video.deleted")
    for path in (f"/v1/videos/{video.id}", f"/v1/videos/{video.id}/content", f"/v1/generations/{video.id}"):
        assert (await http.get(path)).status_code == 404
    assert list((tmp_path / "artifacts").glob(f"*/{video.id}/**/*.mp4")) == []
    assert [left["id"] for left in (await http.get("/v1/videos")).json()["data"]] == [other.id]
    assert (await http.get(f"/v1/videos/{other.id}/content")).status_code == 200
    with pytest.raises(openai.NotFoundError):
        await asyncio.to_thread(client.videos.delete, video.id)


async def test_a_form_and_json_are_one_request(http: httpx.AsyncClient) -> None:
    """Under one Idempotency-Key: it stands for the body as understood, not for its bytes."""
    headers = {"Idempotency-Key": "k"}
    sent = {"model": MODEL, "prompt": "17", "seconds": "0.6", "size": "32x32", "seed": 7}
    budget = {"fraction": 0.5, "methods": ["steps", "unipc"]}
    form = [
        *((name, str(value)) for name, value in sent.items()),
        ("compute_budget[fraction]", "0.5"),
        *(("compute_budget[methods][]", name) for name in budget["methods"]),
        ("metadata[number]", "5"),
    ]
    jobs = [
        await http.post(
            "/v1/videos",
            json={**sent, "compute_budget": budget, "metadata": {"number": "5"}},
            headers=headers,
        ),
        await http.post("/v1/videos", files=[(name, (None, value)) for name, value in form], headers=headers),
        await http.post("/v1/videos", content=str(httpx.QueryParams(form)),
                        headers={**headers, "Content-Type": "application/x-www-form-urlencoded"}),
    ]  # fmt: skip
    assert [job.status_code for job in jobs] == [200, 200, 200]
    assert len({job.json()["id"] for job in jobs}) == 1
    assert jobs[0].json()["num_frames"] == 5
    # A grant is kept in whole MFLOP, and the tiny Wan costs a few hundred.
    assert jobs[0].json()["compute"]["granted"] == pytest.approx(0.5, abs=0.01)


async def test_previews_on_the_stream(
    client: openai.OpenAI, http: httpx.AsyncClient, open_studio: OpenStudio
) -> None:
    """Each is the clip's first frame as the network sees it then. They carry no number."""
    video = await asyncio.to_thread(
        partial(client.videos.create, prompt=PROMPT, model=MODEL, extra_body={"num_inference_steps": 6})
    )
    frames: list[str] = []
    async with http.stream("GET", f"/v1/generations/{video.id}/events") as answer:
        async for line in answer.aiter_lines():
            frames.append(line)
            if line == "event: queued":
                await open_studio()
    seen = list(parse_events(iter(frames)))
    shown = [(seen_id, event.data) for seen_id, event in seen if event.name == "preview"]
    assert [(seen_id, data["sample"], data["step"]) for seen_id, data in shown] == [("", 0, 1), ("", 0, 3)]
    for _, data in shown:
        picture = Image.open(io.BytesIO(base64.b64decode(data["b64_png"])))
        assert (picture.format, picture.size) == ("PNG", (32, 32))
    replayed = (await http.get(f"/v1/generations/{video.id}/events")).text
    assert "event: step" in replayed
    assert "event: preview" not in replayed


async def test_what_the_native_routes_say_of_a_video(
    http: httpx.AsyncClient, open_studio: OpenStudio
) -> None:
    await open_studio()
    given = {"prompt": PROMPT, "seed": 7, "n": 2, "num_frames": 3}
    await http.put("/v1/generations/native", json={"model": MODEL, "input": given})
    job = await ended(http, "native")
    assert [artifact["seed"] for artifact in job["artifacts"]] == [7, 8]
    shown = job["artifacts"][1]
    told = {name: shown[name] for name in ("media_type", "width", "height", "frames", "fps", "duration_s")}
    assert told == {
        "media_type": "video/mp4", "width": 32, "height": 32, "frames": 3, "fps": 8.0, "duration_s": 0.375,
    }  # fmt: skip
    assert frames_of((await http.get(shown["url"])).content).shape == (3, 32, 32, 3)
    for name, kind in (("thumbnail", "image/webp"), ("spritesheet", "image/jpeg")):
        still = await http.get(shown["variants"][name]["url"])
        assert (still.headers["content-type"], len(still.content)) == (kind, shown["variants"][name]["bytes"])
    receipt = (await http.get("/v1/generations/native/receipt")).json()
    assert [sample["output"]["sha256"] for sample in receipt["samples"]] == [
        artifact["sha256"] for artifact in job["artifacts"]
    ]
    assert receipt["samples"][1]["output"] == {**told, "bytes": shown["bytes"], "sha256": shown["sha256"]}
    assert (await http.get("/v1/videos/native")).json()["num_frames"] == 3


async def test_a_part_of_a_video(
    client: openai.OpenAI, http: httpx.AsyncClient, open_studio: OpenStudio
) -> None:
    """Players seek by asking for stretches of bytes."""
    await open_studio()
    path = f"/v1/videos/{(await made(client)).id}/content"
    whole = (await http.get(path)).content
    parts = {"bytes=0-99": range(100), "bytes=5-5": range(5, 6), "bytes=100-": range(100, len(whole))}
    parts["bytes=-50"] = range(len(whole) - 50, len(whole))
    parts[f"bytes=90-{2 * len(whole)}"] = range(90, len(whole))
    for asked, part in parts.items():
        answer = await http.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, whole[part.start : part.stop])
        assert answer.headers["content-range"] == f"bytes {part[0]}-{part[-1]}/{len(whole)}"
    for asked in (f"bytes={len(whole)}-", "bytes=9-5", "bytes=-", "bytes=0-1,3-4", "lines=1-2"):
        answer = await http.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, whole)
