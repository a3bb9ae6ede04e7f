"""Programs that check what is in deploy/: those of the environment's own wheels, and Debian's promtool."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="left out: promtool is missing (Debian package prometheus; .ci/tools installs it)",
)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A tool of the environment's own."""
    tool = Path(sys.executable).parent / words[0]
    return subprocess.run([tool, *words[1:]], capture_output=True, text=True, cwd=ROOT, check=False)
