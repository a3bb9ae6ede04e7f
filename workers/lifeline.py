"""Tie a process to its parent: when the parent is gone, however it went, the child goes too.

Linux only, as is the whole worker (memfd, PDEATHSIG). The kernel sends the signal when the *thread* that made
the child ends, so children are made from main threads alone.
"""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies; end at once if it is dead already.

    Args:
        parent: the process id the parent had when it made us. It closes the race in which the parent dies
            before this call: an orphan has another parent by now.

    Raises:
        OSError: the kernel refuses.
    """
    if _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def leave_signals_to_the_supervisor() -> None:
    """Ignore the signals that ask to stop.

    A terminal or a service manager sends them to every process of a group; the supervisor gets them too and
    tells the engine to drain, while an engine that died of them would count as a crash.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
