"""The example configurations are taken as they stand."""

from __future__ import annotations

from pathlib import Path

from server.settings import ServerSettings
from workers.settings import WorkerSettings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_the_gateway_takes_its_example() -> None:
    settings = ServerSettings.load(CONFIGS / "server.yaml")
    assert settings.api_keys["team-a"].models == ("flux-tiny",)


def test_the_worker_takes_its_example() -> None:
    settings = WorkerSettings.load(CONFIGS / "worker.yaml")
    assert settings.models == ("black-forest-labs/FLUX.1-dev",)
