"""What supervisor and zygote say to each other, one packet a message.

The supervisor sends `Spawn`; the zygote sends `Ready` once, then `Born` and `Ended` for every engine.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from workers.settings import WorkerSettings

PACKET_BYTES = 64 * 1024


class _Packet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spawn(_Packet):
    """Fork an engine that claims as `worker`."""

    worker: str
    settings: WorkerSettings


class Ready(_Packet):
    """Everything is imported."""

    type: Literal["ready"] = "ready"


class Born(_Packet):
    type: Literal["born"] = "born"
    pid: int


class Ended(_Packet):
    """`code` is the exit code, or minus the signal."""

    type: Literal["ended"] = "ended"
    code: int


Reply = TypeAdapter[Ready | Born | Ended](Ready | Born | Ended)
