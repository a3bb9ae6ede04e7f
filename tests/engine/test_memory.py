"""How much is free: the tightest of machine and container."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from workers.engine import memory


def write_cgroup(root: Path, limit: str) -> None:
    (root / "memory.max").write_text(f"{limit}\n")
    (root / "memory.current").write_text("700\n")
    (root / "memory.stat").write_text("anon 400\ninactive_file 150\n")


def test_a_container_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit 1000, used 700 of which 150 are cached file pages: 450 are free."""
    write_cgroup(tmp_path, "1000")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_bytes(torch.device("cpu")) == 450


@pytest.mark.parametrize("limit", ["max", None])
def test_without_a_limit_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None
) -> None:
    if limit is not None:
        write_cgroup(tmp_path, limit)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    free = memory.free_bytes(torch.device("cpu"))
    assert free == pytest.approx(psutil.virtual_memory().available, rel=0.2)
