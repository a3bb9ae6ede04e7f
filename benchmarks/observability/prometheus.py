"""A real Prometheus on a port of its own."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from deploy.observability.__main__ import write
from deploy.observability.objectives import Objectives
from tests.system.harness import free_port

READY_S = 60.0


class Prometheus:
    """Scrapes gateway and worker and evaluates the rules; ended on exit."""

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        """Args:
        folder: for its configuration and its samples.
        targets: job -> host:port.
        """
        self._folder = folder
        self._targets = targets
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}/api/v1", timeout=30)

    def configure(self, objectives: Objectives, every_s: int) -> None:
        """Scrape and evaluate at this interval, by rules made for these objectives; also while it runs."""
        write(self._folder, objectives)
        rules = self._folder / "deploy" / "prometheus"
        tree = {
            "global": {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"},
            "rule_files": [str(rules / "rules.yaml"), str(rules / "alerts.yaml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]}
                for job, target in self._targets.items()
            ],
        }
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(tree))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={self._folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--enable-feature=exemplar-storage",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        self._wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(READY_S)
        self._http.close()

    def range(self, expr: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """Series of an expression over a time, each `{"metric", "values": [[time, text], ...]}`.

        Raises:
            httpx.HTTPStatusError: Prometheus refuses the expression.
        """
        asked = {"query": expr, "start": start, "end": end, "step": step_s}
        answer = self._http.get("/query_range", params=asked)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        found = self._http.get("/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{self._port}/-/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"Prometheus is not ready: {(self._folder / 'prometheus.log').read_text()}")
