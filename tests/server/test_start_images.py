"""Videos that start from an image, over HTTP: what is taken, how it travels, and what is refused by name."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from PIL import Image

from protocol.artifacts import ArtifactStore
from protocol.jobqueue import Catalog, JobKey, JobQueue
from protocol.start_images import path_behind, to_png
from tests.engine.clips import picture, spelled
from tests.protocol.test_start_images import animated, png_header, saved
from tests.server.conftest import Gateways, Hire, body, ended
from tests.server.studio import Studio
from tests.server.test_access import ALICE, BOB, KEYS
from workers.engine import Engine
from workers.media import encode_mp4

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

MODEL = "image"
GIVEN = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 2}
VIDEO = {"model": MODEL, **GIVEN}


def native(image: Any, **job: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": {**GIVEN, "image": image}, **job}


@pytest_asyncio.fixture(autouse=True)
async def model(load_wan: Callable[[str, str], Any], jobqueue: JobQueue, serve: Gateways) -> Any:
    """The tiny image-to-video Wan, catalogued beside flux-tiny."""
    model = load_wan(MODEL, "float32")
    await Catalog(jobqueue).put(model.catalog)
    return model


@pytest_asyncio.fixture
async def studio(model: Any, jobqueue: JobQueue, store: ArtifactStore) -> AsyncIterator[Studio]:
    """The worker, not begun."""
    studio = Studio([model], jobqueue, store)
    yield studio
    await studio.close()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none-needed", max_retries=0) as client:
        yield client


def files(store_root: Path) -> list[str]:
    """What the artifact store holds, the nonce aside."""
    return sorted(path.name for path in store_root.rglob("*") if path.is_file() and path.name[0] != ".")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


async def test_openais_client_sends_the_first_frame(
    client: openai.OpenAI, studio: Studio, model: Any, root: Path
) -> None:
    """What comes is what the engine makes of the same image without queue and HTTP; deleted, all is gone."""
    studio.open()
    asked = {"prompt": "a red apple", "model": MODEL, "seconds": "0.6", "size": "32x32"}
    upload = ("apple.png", saved(picture()), "image/png")
    create = partial(client.videos.create_and_poll, input_reference=upload, extra_body={"seed": 7})
    video = await asyncio.to_thread(partial(create, **asked))
    assert (video.status, video.error) == ("completed", None)
    fetched = await asyncio.to_thread(client.videos.download_content, video.id)
    given = {"prompt": "a red apple", "seed": 7, "num_frames": 5, "image": spelled(picture())}
    [result] = await asyncio.to_thread(Engine([model]).run, [{"model": MODEL, "input": given}])
    assert fetched.read() == encode_mp4(result.samples[0].video, 8.0)
    assert len([name for name in files(root) if name.endswith(".png")]) == 1
    await asyncio.to_thread(client.videos.delete, video.id)
    assert files(root) == []


async def test_a_job_carries_a_reference(http: httpx.AsyncClient, jobqueue: JobQueue, root: Path) -> None:
    """The request in Redis stays small; the image lies under the job, named by its bytes' SHA-256."""
    image = picture(0, 400, 300)
    answer = await http.put("/v1/generations/one", json=native(spelled(image)))
    assert answer.status_code == 202
    record = await jobqueue.get(JobKey("public", "one"))
    assert record is not None
    path = path_behind(record.request.input.image or "")
    assert path is not None
    assert path.startswith("public/one/given/")
    assert path.endswith(f"-{hashlib.sha256(to_png(image)).hexdigest()}.png")
    assert (root / path).read_bytes() == to_png(image)


async def test_sent_twice_it_is_one_job_and_one_file(http: httpx.AsyncClient, root: Path) -> None:
    """The same pixels are the same request, however they are spelled; others are a conflict."""
    image = picture()
    bodies = [spelled(image), f"data:image/png;base64,{base64.b64encode(saved(image)).decode()}"]
    assert [(await http.put("/v1/generations/one", json=native(text))).status_code for text in bodies] == [
        202,
        202,
    ]
    other = await http.put("/v1/generations/one", json=native(spelled(picture(1))))
    assert (other.status_code, other.json()["error"]["code"]) == (409, "id_reused")
    assert len(files(root)) == 1
    headers = {"Idempotency-Key": "once"}
    ids = [
        (await http.post("/v1/generations", json=native(text), headers=headers)).json()["id"]
        for text in bodies
    ]
    assert len(set(ids)) == 1
    assert len(files(root)) == 2


async def test_a_job_that_is_not_taken_leaves_no_file(serve: Gateways, root: Path) -> None:
    async with httpx.AsyncClient(base_url=await serve(queue={"max_queued_jobs": 1})) as http:
        assert (await http.post("/v1/generations", json=native(spelled(picture())))).status_code == 202
        assert (await http.post("/v1/generations", json=native(spelled(picture())))).status_code == 503
    assert len(files(root)) == 1


async def test_a_job_that_may_have_been_taken_keeps_its_file(serve: Gateways, root: Path) -> None:
    """Valkey has no replica to wait for: the write is there, and the answer is that this is not sure."""
    queue = {"durability": "replica", "durability_timeout_ms": 50}
    async with httpx.AsyncClient(base_url=await serve(queue=queue)) as http:
        answer = await http.put("/v1/generations/one", json=native(spelled(picture())))
        assert answer.status_code == 503
        assert (await http.get("/v1/generations/one")).json()["status"] == "queued"
    assert len(files(root)) == 1


async def test_an_artifact_of_ours_is_an_image(http: httpx.AsyncClient, hire: Hire, root: Path) -> None:
    """A picture that another model made, by its signed link and by its bare one."""
    await hire()
    await http.put("/v1/generations/apple", json=body())
    link = (await ended(http, "apple"))["artifacts"][0]["url"]
    for name, text in (("signed", link), ("bare", link.partition("?")[0])):
        answer = await http.put(f"/v1/generations/{name}", json=native(text))
        assert answer.status_code == 202, answer.text
    assert len([name for name in files(root) if name.endswith(".png")]) == 3
    video = await http.post("/v1/videos", json={**VIDEO, "input_reference": {"image_url": link}})
    assert video.status_code == 200
    for wrong in (
        link.replace("sig=", "sig=0"),
        link.replace("apple/0", "apple/1"),
        link.replace("apple", "pear").partition("?")[0],
        link + "&variant=thumbnail",
        link.replace("artifacts", "generations"),
        link.replace("127.0.0.1", "localhost"),
        "https://example.org/a.png",
        "http://[",
    ):
        answer = await http.post("/v1/generations", json=native(wrong))
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "input.image"), wrong


async def test_an_artifact_is_its_tenants_own(serve: Gateways, hire: Hire, jobqueue: JobQueue) -> None:
    """Bob may not start from Alice's picture by its bare link; she may."""
    await hire()
    keys = {name: {**key, "models": None} for name, key in KEYS.items()}
    async with httpx.AsyncClient(base_url=await serve(api_keys=keys), timeout=20) as http:
        http.headers.update(ALICE)
        await http.put("/v1/generations/apple", json=body())
        link = (await ended(http, "apple"))["artifacts"][0]["url"].partition("?")[0]
        assert (await http.post("/v1/generations", json=native(link))).status_code == 202
        refused = await http.post("/v1/generations", json=native(link), headers=BOB)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "input.image")


NOISE = saved(picture(0, 200, 200))
REFUSED: dict[str, tuple[int, bytes]] = {
    "text": (415, b"an image of an apple"),
    "SVG": (415, b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "truncated": (422, NOISE[: len(NOISE) // 2]),
    "1 x 1": (422, saved(Image.new("RGB", (1, 1)))),
    "animated": (422, animated("WEBP")),
    "a header of 60,000 x 60,000": (413, png_header(60_000, 60_000)),
    "too many pixels": (413, saved(Image.new("RGB", (301, 300)))),
    "too many bytes": (413, saved(picture(0, 280, 280))),
}


async def test_rubbish_is_refused_by_name(serve: Gateways, root: Path) -> None:
    """By every way in, before anything is stored or queued."""
    limits = {"max_bytes": 150_000, "max_pixels": 300 * 300}
    async with httpx.AsyncClient(base_url=await serve(images=limits), timeout=20) as http:
        for name, (status, data) in REFUSED.items():
            text = base64.b64encode(data).decode()
            answers = [
                await http.post("/v1/generations", json=native(text)),
                await http.post("/v1/videos", json={**VIDEO, "input_reference": text}),
                await http.post("/v1/videos", data=VIDEO, files={"input_reference": ("a.png", data)}),
            ]
            seen = [(answer.status_code, answer.json()["error"]["param"]) for answer in answers]
            assert seen == [(status, "input.image"), *[(status, "input_reference")] * 2], name
        assert (await http.get("/v1/generations")).json()["data"] == []
    assert files(root) == []


async def test_an_image_is_needed_here_and_refused_elsewhere(http: httpx.AsyncClient) -> None:
    for path, sent, param in (
        ("/v1/generations", {"model": MODEL, "input": GIVEN}, "input.image"),
        ("/v1/videos", VIDEO, "input_reference"),
    ):
        error = (await http.post(path, json=sent)).json()["error"]
        assert (error["code"], error["param"]) == ("missing_field", param)
    elsewhere = await http.post("/v1/generations", json=body(image=spelled(picture())))
    assert (elsewhere.status_code, elsewhere.json()["error"]["param"]) == (422, "input.image")
    [shown] = [entry for entry in (await http.get("/v1/models")).json()["data"] if entry["id"] == MODEL]
    assert shown["required_fields"] == ["image"]


async def test_an_image_that_is_gone_fails_its_job(
    http: httpx.AsyncClient, studio: Studio, jobqueue: JobQueue, root: Path
) -> None:
    await http.put("/v1/generations/one", json=native(spelled(picture())))
    [path] = list(root.rglob("*.png"))
    path.unlink()
    studio.open()
    job = await ended(http, "one")
    assert (job["status"], job["error"]["code"]) == ("failed", "artifact_expired")
