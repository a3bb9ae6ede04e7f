"""Choosing settings: the front, and going on where a run was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.quality_vs_compute.peers import NAMES, Peer
from benchmarks.quality_vs_compute.tune import _append, candidates, front, read_journal, remaining


def row(share: float, mean: float, **more: Any) -> dict[str, Any]:
    return {"share": share, "mean": mean, "captions": 2, "steps": 6, **more}


def test_front_keeps_what_nothing_beats() -> None:
    """.5 is beaten by .4 (less compute, nearer); the second .3 is as cheap and farther."""
    rows = [row(0.5, 0.03), row(0.9, 0.01), row(0.3, 0.05), row(0.4, 0.02), row(0.3, 0.06)]
    assert front(rows) == [row(0.3, 0.05), row(0.4, 0.02), row(0.9, 0.01)]
    assert front([]) == []


def test_candidates_are_distinct_json_values_of_known_peers() -> None:
    found = candidates()
    written = [json.dumps([peer.name, peer.setting]) for peer in found]
    assert len(set(written)) == len(found)
    assert {peer.name for peer in found} == set(NAMES) - {"plain"}
    assert [json.loads(each)[1] for each in written] == [peer.setting for peer in found]


def test_a_journal_goes_on_after_a_half_written_line(tmp_path: Path) -> None:
    journal = tmp_path / "peers.jsonl"
    peers = [Peer("a", {"x": 1}), Peer("a", {"x": 2})]
    assert remaining(peers, read_journal(journal, 2, 6)) == peers
    _append(journal, row(0.1, 0.2, peer="a", setting={"x": 1}))
    with journal.open("a") as cut_off:
        cut_off.write('{"peer": "a", "sett')
    assert remaining(peers, read_journal(journal, 2, 6)) == peers[1:]
    _append(journal, row(0.3, 0.1, peer="a", setting={"x": 2}))
    assert remaining(peers, read_journal(journal, 2, 6)) == []


def test_rows_over_other_captions_do_not_count(tmp_path: Path) -> None:
    journal = tmp_path / "peers.jsonl"
    _append(journal, row(0.1, 0.2))
    assert read_journal(journal, 3, 6) == []
    assert read_journal(journal, 2, 28) == []
    assert read_journal(journal, 2, 6) == [row(0.1, 0.2)]
