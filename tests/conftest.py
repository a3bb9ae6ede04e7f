"""Fixtures every room may use: a real Valkey of our own, and tiny real FLUX and Wan folders."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = [f"tests.plugins.{name}" for name in ("valkey", "s3", "flux", "wan", "pare")]
