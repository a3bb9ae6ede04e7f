"""A run that is cut off goes on; no item is made twice; the report takes the pairs that all arms have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality_vs_compute.arms import Arm
from benchmarks.quality_vs_compute.collect import outcomes, shared_chunks
from benchmarks.quality_vs_compute.pairs import held_out, renderings
from benchmarks.quality_vs_compute.store import Columns, Store
from benchmarks.quality_vs_compute.work import Item, items, work

SIZE = 2
PAIRS = held_out(3 * SIZE)
FULL = Arm("full", "full", "reference", 6, 0)
ODE = Arm("ode", "ode", "reference", 2, 0)
OURS = Arm("ours@0.5", "ours", "ours", 6, 0)
RIVAL = Arm("fora@0.5", "fora", "rival", 4, 0)
ARMS = (RIVAL, OURS, ODE, FULL)


def columns(item: Item) -> Columns:
    return {"spent": np.array([float(pair.index) for pair in item.pairs]), "latents": np.zeros((SIZE, 4, 4))}


class Maker:
    """Remembers what it made, in order; fails on the arms named."""

    def __init__(self, *broken: str) -> None:
        self.made: list[tuple[str, int]] = []
        self._broken = broken

    def __call__(self, item: Item) -> Columns:
        if item.arm.name in self._broken:
            raise RuntimeError("broken")
        self.made.append(item.key)
        return columns(item)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


WANTED = items(ARMS, PAIRS, SIZE)
ORDER = [
    *(("full", 0), ("ode", 0), ("ours@0.5", 0), ("fora@0.5", 0)),
    *(("full", 1), ("ours@0.5", 1), ("fora@0.5", 1)),
    *(("full", 2), ("ours@0.5", 2)),
]


def test_chunk_by_chunk_the_most_wanted_first(store: Store) -> None:
    maker = Maker()
    assert work(store, WANTED, maker, minutes=1) == []
    assert maker.made == ORDER


def test_a_second_run_makes_only_what_is_missing_or_half_written(store: Store, tmp_path: Path) -> None:
    """One file cut short, one gone with a draft left behind: these two, in their order, and nothing else."""
    work(store, WANTED, Maker(), minutes=1)
    cut = tmp_path / "ours@0.5.1.npz"
    cut.write_bytes(cut.read_bytes()[:-30])
    (tmp_path / "fora@0.5.0.npz").rename(tmp_path / "fora@0.5.0.77.draft")
    again = Maker()
    work(Store(tmp_path), WANTED, again, minutes=1)
    assert again.made == [("fora@0.5", 0), ("ours@0.5", 1)]
    assert store.read("ours@0.5", 1)["spent"].tolist() == [2, 3]


def test_no_time_no_work(store: Store) -> None:
    maker = Maker()
    work(store, WANTED, maker, minutes=0)
    assert maker.made == []


def test_an_arm_that_fails_stops_no_other(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    maker = Maker("fora@0.5")
    assert work(store, WANTED, maker, minutes=1) == ["fora@0.5"]
    assert maker.made == [key for key in ORDER if key[0] != "fora@0.5"]
    assert "RuntimeError: broken" in capsys.readouterr().err


def test_without_the_reference_nothing_goes_on(store: Store) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        work(store, WANTED, Maker("full"), minutes=1)


def test_nothing_is_held_against_a_reference_that_another_is_still_at(store: Store, tmp_path: Path) -> None:
    """Another process holds chunk 0's unabridged run: of chunk 0 nothing is begun here, the rest is."""
    maker = Maker()
    with Store(tmp_path).claim("full", 0) as mine:
        assert mine
        work(store, WANTED, maker, minutes=0.02)
    assert maker.made == [key for key in ORDER if key[1] > 0]


def test_an_item_is_claimed_once(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    with store.claim("full", 0) as first, other.claim("full", 0) as second:
        assert (first, second) == (True, False)
    with other.claim("full", 0) as free:
        assert free
        other.write("full", 0, {"spent": np.ones(1)})
    with store.claim("full", 0) as done:
        assert not done


def test_the_report_takes_the_pairs_that_all_arms_have(store: Store) -> None:
    """The rival is meant for two chunks; ours lacks the third; an arm that was not begun does not count."""
    for item in WANTED:
        if item.key != ("ours@0.5", 2) and item.arm is not ODE:
            store.write(*item.key, columns(item))
    assert shared_chunks(store, ARMS, 3, SIZE) == 2
    found = outcomes(store, ARMS, 2)
    assert sorted(found) == ["fora@0.5", "full", "ours@0.5"]
    assert found["ours@0.5"].columns["spent"].tolist() == [0, 1, 2, 3]
    assert "latents" not in found["full"].columns


def test_outcomes_have_no_gap(store: Store) -> None:
    """Chunk 1 is missing: chunk 2 would stand beside other arms' chunk 1."""
    for item in WANTED:
        if item.key in (("full", 0), ("full", 2)):
            store.write(*item.key, columns(item))
    assert outcomes(store, [FULL], 3)["full"].columns["spent"].tolist() == [0, 1]


def test_pairs_are_the_same_in_a_longer_draw() -> None:
    assert held_out(2) == PAIRS[:2]
    assert len({pair.caption for pair in PAIRS}) == len({pair.seed for pair in PAIRS}) == 6
    assert renderings(PAIRS[:1])[0].tobytes() == renderings(PAIRS[:1])[0].tobytes()
