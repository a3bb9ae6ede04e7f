"""The artifact store: on a folder, in a bucket and on another file system of fsspec, the same suite."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.artifacts import NONCE_FILE, ArtifactStore
from protocol.errors import Gone, NotFound, Unavailable
from protocol.jobqueue import Catalog, JobQueue
from protocol.receipts import Action, PlanSummary, Receipt, SampleReceipt, StepLine
from protocol.records import JobKey

KEY = JobKey("public", "job-1")
RECEIPT = Receipt(
    budget=1.0, granted=1.0, spent=1.0, full_tflops=2.0, tflops=2.0, other_tflops=0.1, nfe=1, wall_s=0.5,
    samples=(
        SampleReceipt(
            seed=7, granted=2.0, spent=2.0, nfe=1,
            plan=PlanSummary(methods=(), num_inference_steps=1, solver="euler"),
            steps=(
                StepLine(index=0, action=Action.FULL, blocks_run=8, blocks_total=8, tflops=2.0, seconds=0.5),
            ),
        ),
    ),
)  # fmt: skip


Open = Callable[[], ArtifactStore]


@pytest.fixture(params=["folder", "memory", "bucket"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens one and the same store."""
    if request.param == "bucket":
        bucket, s3 = request.getfixturevalue("bucket"), request.getfixturevalue("s3")
        return lambda: ArtifactStore(bucket, s3)
    root = str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4()}"
    return lambda: ArtifactStore(root)


async def test_what_goes_in_comes_out(opened: Open) -> None:
    artifact = await opened().put(KEY, 2, 0, b"picture", "image/png", 7)
    digest = hashlib.sha256(b"picture").hexdigest()
    assert artifact.path == f"public/job-1/2/0-{digest}.png"
    assert (artifact.bytes, artifact.sha256, artifact.seed) == (7, digest, 7)
    assert await opened().get(artifact.path) == b"picture"


async def test_storing_twice_is_storing_once(opened: Open) -> None:
    store = opened()
    first = await store.put(KEY, 1, 0, b"picture", "image/png", 7)
    assert await store.put(KEY, 1, 0, b"picture", "image/png", 7) == first


async def test_the_receipt_comes_back_whole(opened: Open) -> None:
    store = opened()
    path = await store.put_receipt(KEY, 1, RECEIPT)
    assert path.startswith("public/job-1/1/receipt-")
    assert await store.get_receipt(path) == RECEIPT


async def test_what_came_with_a_job_can_be_taken_back(opened: Open) -> None:
    """Two who bring the same to one job do not share a file, so one may take its own away."""
    store = opened()
    mine, theirs = [await store.put_given(KEY, b"picture", "image/png") for _ in range(2)]
    digest = hashlib.sha256(b"picture").hexdigest()
    for path in (mine, theirs):
        assert path.startswith("public/job-1/given/")
        assert path.endswith(f"-{digest}.png")
    await store.discard(mine)
    with pytest.raises(Gone):
        await store.get(mine)
    assert await store.get(theirs) == b"picture"
    await store.delete_prefix(KEY)
    with pytest.raises(Gone):
        await store.get(theirs)


async def test_a_job_goes_by_its_prefix(opened: Open) -> None:
    store = opened()
    mine = await store.put(KEY, 1, 0, b"a", "image/png", 1)
    other = await store.put(JobKey("public", "job-10"), 1, 0, b"b", "image/png", 1)
    await store.delete_prefix(KEY)
    await store.delete_prefix(KEY)
    with pytest.raises(Gone):
        await store.get(mine.path)
    assert await store.get(other.path) == b"b"


@pytest.mark.parametrize("path", ["../secret-ab.png", "/etc/passwd-ab", "public/job-1/nodash.png", ""])
async def test_other_paths_are_refused(opened: Open, path: str) -> None:
    with pytest.raises(NotFound):
        await opened().get(path)


async def test_a_damaged_file_is_gone(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    artifact = await store.put(KEY, 1, 0, b"picture", "image/png", 7)
    (tmp_path / artifact.path).write_bytes(b"pictur3")
    with pytest.raises(Gone, match="damaged"):
        await store.get(artifact.path)


async def test_nothing_is_left_beside(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    artifact = await store.put(KEY, 1, 0, b"picture", "image/png", 7)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / artifact.path]


async def test_one_store_is_shared_another_is_not(opened: Open, jobqueue: JobQueue, tmp_path: Path) -> None:
    catalog = Catalog(jobqueue)
    await asyncio.gather(*(opened().ensure_shared(catalog) for _ in range(8)))
    await opened().ensure_shared(catalog)
    with pytest.raises(Unavailable) as caught:
        await ArtifactStore(str(tmp_path / "other")).ensure_shared(catalog)
    assert caught.value.code == "artifacts_not_shared"


async def test_an_old_folder_goes_with_an_emptied_redis(jobqueue: JobQueue, tmp_path: Path) -> None:
    store, catalog = ArtifactStore(str(tmp_path)), Catalog(jobqueue)
    await store.ensure_shared(catalog)
    await jobqueue.redis.flushall()
    await store.ensure_shared(catalog)
    assert (tmp_path / NONCE_FILE).read_text() == await catalog.nonce()
