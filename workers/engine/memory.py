"""How much memory samples may hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """What the device has left: CUDA's own answer, else the tightest of machine and cgroup."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([int(psutil.virtual_memory().available), *_cgroup_free(_CGROUP)])


def _cgroup_free(root: Path) -> Iterator[int]:
    """Limit minus use of this container, if it has a limit. Cached file pages count as free."""
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        stat = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
    except OSError:
        return
    if limit.isdigit():
        yield max(0, int(limit) - used + int(stat.get("inactive_file", 0)))
