"""`rheostat up` is killed, started again and interrupted: no process is left over, and no job forgotten."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from protocol.jobqueue import JobKey
from protocol.states import JobStatus
from server.valkey import EmbeddedValkey
from tests.system.harness import ANONYMOUS, LONG, MODEL, Desk, Program, settings_of_queue, until
from tests.system.http_client import Client

ORPHANS_GONE_S = 5.0


class UpProgram(Program):
    """`rheostat up` on a data directory; its address is where it noted it."""

    def __init__(self, folder: Path, checkpoints: Path) -> None:
        self.data_dir = folder / "data"
        super().__init__(
            ["server", "up", "--port", "0", "--models", MODEL, "--data-dir", str(self.data_dir)],
            folder / "up.log",
            RHEOSTAT_CHECKPOINTS=str(checkpoints),
            RHEOSTAT_WORKER_DRAIN_S="0.5",
            **settings_of_queue("WORKER"),
            **settings_of_queue("SERVER"),
        )

    async def serve(self) -> Client:
        """Start and wait for readiness; a client of it."""
        (self.data_dir / "up.json").unlink(missing_ok=True)
        self.start()

        async def look() -> str | None:
            note = self.data_dir / "up.json"
            return json.loads(note.read_text())["url"] if note.is_file() and note.read_text() else None

        client = Client(await until(look, f"address; log:\n{self.log.read_text()}"))
        await client.ready()
        return client


@pytest.fixture
def up(tmp_path: Path, flux_root: Path) -> Iterator[UpProgram]:
    program = UpProgram(tmp_path, flux_root)
    yield program
    program.close()


async def all_gone(family: list[psutil.Process]) -> None:
    async def look() -> bool:
        return not any(is_alive(process) for process in family)

    await until(look, f"end of {family}", ORPHANS_GONE_S)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.timeout(180)
async def test_killed_and_interrupted(up: UpProgram) -> None:
    client = await up.serve()
    killed_in = ["k0", "k1", "k2", "k3"]
    await client.put_all(killed_in)
    await client.reached(len(killed_in), "running")
    family = up.family()
    assert len(family) >= 6  # itself, Valkey, gateway, supervisor, zygote, engine
    up.kill()
    await all_gone(family)
    await client.close()

    client = await up.serve()
    for name in killed_in:
        assert (await client.ended(name))["status"] == "completed"
    interrupted_in = ["i0", "i1", "i2"]
    await client.put_all(interrupted_in, steps=6 * LONG)
    await client.reached(len(interrupted_in), "running")
    family = up.family()
    up.ask(signal.SIGINT)
    assert await up.ended() == 0
    await all_gone(family)
    await client.close()
    await assert_committed_or_handed_back(up.data_dir, interrupted_in)


async def assert_committed_or_handed_back(data_dir: Path, names: list[str]) -> None:
    """Read what `up` left on the disk."""
    with EmbeddedValkey(data_dir) as valkey:
        desk = await Desk.open(valkey.url)
        for name in names:
            record = await desk.record(JobKey(ANONYMOUS, name))
            expected = {JobStatus.COMPLETED: 1, JobStatus.QUEUED: 0}
            assert record.attempts == expected[record.status]
        await desk.close()
