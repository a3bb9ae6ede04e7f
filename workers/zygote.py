"""The zygote: a process that has torch and diffusers imported, and forks an engine process when told to.

Importing takes about 4 s, forking 30 ms, and a dead engine must be replaced within 3 s. The zygote runs no
torch operation and starts no thread, so a fork of it is as good as a fresh process, also for CUDA, which it
never touches. It forks one engine at a time, waits for its end and reports it; it dies with the supervisor,
the engine with it. An engine of several ranks is as many processes, the first of them the engine, and ends
with whichever of them ends first, so that nobody waits for a dead rank.

What goes over the channel is in `workers.packets`.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from workers.lifeline import die_with_parent, leave_signals_to_the_supervisor
from workers.packets import PACKET_BYTES, Born, Ended, Ready, Spawn
from workers.place import Place, open_listener


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
    zygote, pids = os.getpid(), []
    with contextlib.ExitStack() as stack:
        for place in _places(spawn.settings.ranks, stack):
            pids.append(os.fork())
            if pids[-1] == 0:
                channel.close()
                _be_rank(spawn, options, zygote, place)
    channel.send(Born(pid=pids[0]).model_dump_json().encode())
    channel.send(Ended(code=_end_of(pids)).model_dump_json().encode())


def _places(ranks: int, stack: contextlib.ExitStack) -> list[Place]:
    """Those of the processes to fork: all ranks, or the first alone where others start theirs."""
    here = Place.from_environment()
    if here.launched:
        return [here]
    listener = stack.enter_context(open_listener()) if ranks > 1 else None
    return [Place(rank, ranks, listener, rank) for rank in range(ranks)]


def _end_of(pids: Sequence[int]) -> int:
    """Wait for the first rank, or one that fails, and end the rest; its exit code, or minus the signal."""
    left, code = set(pids), 0
    while pids[0] in left and code == 0:
        pid, status = os.waitpid(-1, 0)
        left.discard(pid)
        code = os.waitstatus_to_exitcode(status)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return code


def _be_rank(spawn: Spawn, options: ZygoteOptions, zygote: int, place: Place) -> None:
    """Run the engine, or follow it, and leave without the zygote's exit handlers."""
    code = 1
    try:
        die_with_parent(zygote)
        from workers.engine_process import run_engine, run_follower

        if place.rank:
            code = run_follower(spawn.settings, place)
        else:
            code = run_engine(
                spawn.worker, spawn.settings, board_fd=options.board, meter_fd=options.meter, place=place
            )
    except BaseException:
        logging.getLogger("rheostat.worker").exception("the engine process failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
