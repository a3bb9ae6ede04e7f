"""Which rank of its worker a process is, and where it finds the others. Needs no torch.

Spawned by a supervisor all are on one machine: rank 0 listens on a loopback socket that was opened before
they were forked, so no port can be taken in between. Started by torchrun, or anything else that sets RANK,
WORLD_SIZE, MASTER_ADDR and MASTER_PORT, they may be on several.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import NamedTuple, Self

LOOPBACK = "127.0.0.1"


class Place(NamedTuple):
    """A rank's place in its group.

    `listener` is the socket rank 0 listens on, and where the others find it; None: the environment says.
    """

    rank: int
    size: int
    listener: socket.socket | None = None
    local_rank: int = 0

    @property
    def launched(self) -> bool:
        """Whether somebody else has started this group, and restarts it when one of it ends."""
        return self.size > 1 and self.listener is None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """As torchrun tells it; rank 0 of 1 where nobody does."""
        rank = int(environment.get("RANK", 0))
        size = int(environment.get("WORLD_SIZE", 1))
        return cls(rank, size, local_rank=int(environment.get("LOCAL_RANK", rank)))


ALL_ALONE = Place(0, 1)
"""A worker of one rank."""


def open_listener() -> socket.socket:
    """A listening socket on a free port of the loopback."""
    return socket.create_server((LOOPBACK, 0))
