"""The ranks of one worker meet."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from workers.models.mesh import Mesh, MeshShape
from workers.place import LOOPBACK, Place


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
        first, port = place.rank == 0, place.listener.getsockname()[1]
        store = dist.TCPStore(  # type: ignore[attr-defined]
            LOOPBACK,
            port,
            place.size,
            first,
            timeout,
            master_listen_fd=place.listener.detach() if first else None,
        )
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=timeout)
    return Mesh(shape, device)
