"""The Triton side, where Triton is installed: values in its interpreter, and code for sm_90.

Interpreter and compiler cannot share a process, and neither may meet a torch that was imported before its
environment was set, so each runs in its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not to be had here: it is there for Linux only")

HERE = Path(__file__).parent
pytestmark = pytest.mark.timeout(180)


def run(script: str, **environment: str) -> str:
    root = HERE.parents[1]
    command = [sys.executable, str(HERE / script)]
    variables = {**os.environ, "PYTHONPATH": str(root), **environment}
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_kernel_draws_the_same_tokens() -> None:
    assert run("interpreted.py", TRITON_INTERPRET="1") == "same tokens"


def test_the_kernel_compiles_for_sm_90() -> None:
    assert run("compiled.py") == "compiled"
