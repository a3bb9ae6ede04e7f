"""Counts what torch itself does: FLOP by FlopCounterMode, live bytes by watching storages.

On the meta device both work on models far too large for this machine.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""FlopCounterMode knows CUDA's attention kernels and counts 0 for this one."""


def _attention_flop(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def count_flop(run: Callable[[], object]) -> int:
    """FLOP of all that `run` does."""
    counter = FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: _attention_flop})
    with torch.no_grad(), counter:
        run()
    return int(counter.get_total_flops())


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every storage from the call that makes it to its end; weights are made by none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if storage._cdata not in given:
                self._watch(storage)
        self.peak = max(self.peak, sum(self.live.values()))
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        self.live[storage._cdata] = storage.nbytes()
        weakref.finalize(storage, self.live.pop, storage._cdata, None)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class _FusedAttention(TorchFunctionMode):
    """Attention that makes its output alone, as fused kernels do; the meta device makes scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.empty_like(named["query"] if "query" in named else args[0])
        return func(*args, **named)


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes alive at once of what `run` makes. Kernels' own workspaces are not seen."""
    with torch.no_grad(), _FusedAttention(), _LiveBytes() as watcher:
        run()
    return int(watcher.peak)


@contextmanager
def on_meta() -> Iterator[None]:
    """Builds tensors and modules without memory."""
    with torch.device("meta"):
        yield
