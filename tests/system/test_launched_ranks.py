"""Ranks that somebody else has started, as torchrun does: processes with their places in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.valkey import EmbeddedValkey
from tests.system.harness import Desk, WorkerProgram, free_port


@pytest.mark.timeout(240)
async def test_launched_ranks_serve_and_drain(
    tmp_path: Path,
    own_valkey: EmbeddedValkey,
    own_desk: Desk,
    flux_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second rank talks to nobody but the first, and ends with it, in order."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    ranks = []
    try:
        for rank in range(2):
            monkeypatch.setenv("RANK", str(rank))
            ranks.append(WorkerProgram(tmp_path, own_valkey.url, flux_root, f"rank-{rank}", ranks="2"))
            ranks[-1].start()
        await ranks[0].ready(own_desk.catalog, timeout_s=90)
        assert [one.worker for one in await own_desk.catalog.workers()] == ["rank-0"]
        await own_desk.assert_ended_once(await own_desk.submit("shared", steps=4))
        ranks[1].ask(15)
        ranks[0].ask(15)
        assert [await rank.ended() for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.close()
