"""Where a local system keeps its files and is found."""

from __future__ import annotations

from pathlib import Path

DATA_DIR = Path.home() / ".local" / "share" / "rheostat"
"""Where everything on this machine lives unless told otherwise."""
NOTE_FILE = "up.json"
"""Says under the data directory where the running system listens."""
DEFAULT_URL = "http://127.0.0.1:8000"
