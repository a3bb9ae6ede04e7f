"""Replies of submit, claim and commit get lost on the way: nothing is doubled, lost or stuck."""

from __future__ import annotations

import pytest

from protocol.events import Started
from protocol.jobqueue.lua import load_scripts
from server.valkey import EmbeddedValkey
from tests.system.conftest import MakeWorker
from tests.system.cutting_proxy import CuttingProxy
from tests.system.harness import QUEUE, TENANT, Desk

JOBS = 12


@pytest.mark.timeout(120)
async def test_lost_replies_double_nothing(
    make_worker: MakeWorker, own_valkey: EmbeddedValkey, own_desk: Desk
) -> None:
    scripts = load_scripts(QUEUE)
    assert own_valkey.port is not None
    async with CuttingProxy(
        own_valkey.port, {name: scripts[name].sha for name in ("submit", "claim", "commit")}
    ) as proxy:
        worker = make_worker(proxy.url)
        await worker.ready(own_desk.catalog)
        cut_off = await Desk.open(proxy.url)
        keys = [await cut_off.submit(f"job-{index}", seed=index, steps=20) for index in range(JOBS)]
        for key in keys:
            record = await own_desk.assert_ended_once(key)
            assert record.attempts == 1
            assert len([event for event in await own_desk.events(key) if isinstance(event, Started)]) == 1
        await cut_off.close()
        worker.kill()
        assert all(proxy.cuts[name] > 0 for name in ("submit", "claim", "commit")), proxy.cuts
    page = await own_desk.queue.list(TENANT, after=None, limit=100)
    assert sorted(record.key for record in page.records) == sorted(keys)
    await own_desk.assert_nothing_left()
