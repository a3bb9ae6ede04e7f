"""How the ranks of one worker find each other.

Spawned by a supervisor they are on one machine: rank 0 listens on a loopback socket that was opened before
they were forked, so no port can be taken in between. Started by torchrun, or anything else that sets RANK,
WORLD_SIZE, MASTER_ADDR and MASTER_PORT, they may be on several.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple, Self

import torch
import torch.distributed as dist

from workers.models.mesh import Mesh, MeshShape

_LOOPBACK = "127.0.0.1"


class Place(NamedTuple):
    """A rank's place in its group.

    `listener` is the socket rank 0 listens on, and where the others find it; None: the environment says.
    """

    rank: int
    size: int
    listener: socket.socket | None = None
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """As torchrun tells it; rank 0 of 1 where nobody does."""
        rank = int(environment.get("RANK", 0))
        size = int(environment.get("WORLD_SIZE", 1))
        return cls(rank, size, local_rank=int(environment.get("LOCAL_RANK", rank)))


def open_listener() -> socket.socket:
    """A listening socket on a free port of the loopback."""
    return socket.create_server((_LOOPBACK, 0))


def device_of(name: str, place: Place) -> torch.device:
    """The rank's device: of `cuda` the one of its place on this machine."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and place.size > 1:
        device = torch.device("cuda", place.local_rank)
        torch.cuda.set_device(device)
    return device


def join(place: Place, shape: MeshShape, device: torch.device, timeout_s: float) -> Mesh:
    """Meet the others, and make up the mesh.

    Args:
        place: this rank's.
        shape: the whole group's.
        device: this rank's; GPUs talk over NCCL, host memory over gloo.
        timeout_s: how long anyone waits for anyone, now and later.

    Raises:
        RuntimeError: they did not all come in time.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=timeout_s)
    if place.listener is None:
        dist.init_process_group(backend, timeout=timeout)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            backend, store=_store(place, timeout), rank=place.rank, world_size=place.size, timeout=timeout
        )
    return Mesh(shape, device)


def _store(place: Place, timeout: timedelta) -> dist.TCPStore:
    assert place.listener is not None
    first = place.rank == 0
    return dist.TCPStore(
        _LOOPBACK,
        place.listener.getsockname()[1],
        place.size,
        first,
        timeout,
        master_listen_fd=place.listener.detach() if first else None,
    )
