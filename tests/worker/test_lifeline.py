"""Children do not outlive their parents, and leave signals that ask to stop to the supervisor."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

PARENT = """
import os, subprocess, sys
code = '''
import os, sys, time
from workers.lifeline import die_with_parent
die_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
'''
child = subprocess.Popen([sys.executable, "-c", code, str(os.getpid())], start_new_session=True)
child.wait()
"""

ORPHAN = """
from workers.lifeline import die_with_parent
die_with_parent(1 << 22)
print("still here", flush=True)
"""

DEAF = """
import os, signal
from workers.lifeline import leave_signals_to_the_supervisor
leave_signals_to_the_supervisor()
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
print("still here")
"""


def test_the_child_of_a_killed_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        deadline = time.monotonic() + 5
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_child_whose_parent_is_gone_already_ends() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_signals_that_ask_to_stop_are_the_supervisors() -> None:
    done = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, check=True)
    assert done.stdout == b"still here\n"
