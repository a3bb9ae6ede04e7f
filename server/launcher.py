"""Tie a child to us: when this process goes, however it went, the kernel ends the child too. Linux only.

The kernel acts when the *thread* that made the child ends, so make children from a thread that lasts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

# Run in a fresh interpreter between fork and exec: code after a fork of a threaded process is not safe.
_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has gone")
os.execv(sys.argv[3], sys.argv[3:])
"""


def tied_to_us(command: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """`command`, run so that it gets `death_signal` when this process ends; unchanged where that is unknown.

    Args:
        command: the program's absolute path, then its arguments.
    """
    if sys.platform != "linux":
        return list(command)
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER]
    return [*launcher, str(os.getpid()), str(int(death_signal)), *command]
