"""What the discrete benchmark makes of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.discrete_exact import compare, converge, long_chain
from benchmarks.gadd_page import update
from benchmarks.quality_vs_compute.store import Store


def test_slopes_by_hand() -> None:
    """.4, .1, .025 at 8, 16, 32: a quarter a doubling, slope -2."""
    found = converge.slopes((8, 16, 32), (0.4, 0.1, 0.025))
    assert found == {"slope": pytest.approx(-2.0), "fall": pytest.approx(4.0)}


def test_a_rival_is_read_between_its_runs() -> None:
    """.4 in 1 s and .1 in 4 s are .2 in 2 s; beyond them nothing is known."""
    points: list[dict[str, Any]] = [{"seconds": 1.0, "bigram_tv": 0.4}, {"seconds": 4.0, "bigram_tv": 0.1}]
    assert compare.tv_at(points, 2.0) == pytest.approx(0.2)
    assert compare.tv_at(points, 5.0) is None


def test_a_run_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    scale = long_chain.Scale(lengths=(8,), nfes=(2,), samples=4)
    store = Store(tmp_path)
    assert not long_chain.make(scale, store, minutes=0)
    assert long_chain.make(scale, store, minutes=5)
    rows = long_chain.rows(scale, store)
    assert [row["sampler"] for row in rows] == [long_chain.TRUTH, *long_chain.SETTINGS]
    assert all(row["samples"] == 4 for row in rows)


def test_sections_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    update("chain", {"rows": []}, "## Chain\n", tmp_path)
    update("exact", {"rows": []}, "## Exact\n", tmp_path)
    page = (tmp_path / "gadd.md").read_text()
    assert page.index("## Exact") < page.index("## Chain")
    assert capsys.readouterr().out.splitlines()[-1] == '{"rows": []}'
