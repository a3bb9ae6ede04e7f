"""The zygote: a process that has torch and diffusers imported, and forks an engine process when told to.

Importing takes about 4 s, forking 30 ms, and a dead engine must be replaced within 3 s. The zygote runs no
torch operation and starts no thread, so a fork of it is as good as a fresh process, also for CUDA, which it
never touches. It forks one engine at a time, waits for its end and reports it; it dies with the supervisor,
the engine with it.

What goes over the channel is in `workers.packets`.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from workers.lifeline import die_with_parent, leave_signals_to_the_supervisor
from workers.packets import PACKET_BYTES, Born, Ended, Ready, Spawn


class ZygoteOptions(BaseModel):
    """The file descriptors and the process id a zygote is born with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: int = Field(ge=0)
    board: int = Field(ge=0)
    meter: int = Field(ge=0)
    parent: int = Field(gt=0)


def main(options: ZygoteOptions) -> int:
    """Import, then fork engines until the supervisor closes the channel."""
    die_with_parent(options.parent)
    leave_signals_to_the_supervisor()
    _import_everything()
    with socket.socket(fileno=options.channel) as channel:
        channel.send(Ready().model_dump_json().encode())
        while packet := channel.recv(PACKET_BYTES):
            _raise_one(channel, Spawn.model_validate_json(packet), options)
    return 0


def _import_everything() -> None:
    """Pay for the imports once; refuse to go on if one of them started a thread, which a fork would lose."""
    from workers.engine_process import import_ahead

    import_ahead()
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"the zygote has {threads} threads after its imports; it must have one to fork")
    gc.collect()
    gc.freeze()  # collections in a child would otherwise write to, and so copy, all pages shared with us


def _raise_one(channel: socket.socket, spawn: Spawn, options: ZygoteOptions) -> None:
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        channel.close()
        _be_engine(spawn, options, zygote)
    channel.send(Born(pid=pid).model_dump_json().encode())
    _, status = os.waitpid(pid, 0)
    channel.send(Ended(code=os.waitstatus_to_exitcode(status)).model_dump_json().encode())


def _be_engine(spawn: Spawn, options: ZygoteOptions, zygote: int) -> None:
    """Run the engine and leave without the zygote's exit handlers."""
    code = 1
    try:
        die_with_parent(zygote)
        from workers.engine_process import run_engine

        code = run_engine(spawn.worker, spawn.settings, board_fd=options.board, meter_fd=options.meter)
    except BaseException:
        logging.getLogger("rheostat.worker").exception("the engine process failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
