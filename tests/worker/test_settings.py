"""Command line over environment over file over default; nothing unknown."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from workers.cli import main
from workers.settings import WorkerSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RHEOSTAT_WORKER_DRAIN_S", "RHEOSTAT_WORKER_MODELS"):
        monkeypatch.delenv(name, raising=False)


def test_the_stronger_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text("drain_s: 1\nthreads: 2\nmodels: [one, two]\nqueue: {lease_ttl_ms: 3000}\n")
    monkeypatch.setenv("RHEOSTAT_WORKER_DRAIN_S", "2")
    monkeypatch.setenv("RHEOSTAT_WORKER_QUEUE__BACKOFF_MS", "70")
    assert WorkerSettings.load().drain_s == 2
    settings = WorkerSettings.load(file, threads="3", device=None)
    assert (settings.drain_s, settings.threads, settings.models) == (2, 3, ("one", "two"))
    assert (settings.queue.lease_ttl_ms, settings.queue.backoff_ms) == (3000, 70)
    assert WorkerSettings.load(file, drain_s=5).drain_s == 5
    assert settings.device == "cpu"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ranks": 3, "cfg_parallel": True}, "cfg_parallel needs an even number of ranks, not 3"),
        ({"ranks": 2, "models": "a,b"}, "models: 2 ranks serve one model, not 2"),
        ({"ranks": 2, "device": "cuda:1"}, "device: 2 ranks take one each, not cuda:1; allowed: cpu, cuda"),
        ({"ranks": 2, "audit": {"share": 0.1}}, "audit.share: an audit is given up in the middle"),
        ({"ranks": 0}, "ranks"),
        ({"attention_split": "star"}, "'ulysses' or 'ring'"),
        ({"weight_dtype": "int4"}, "'int8' or 'float8'"),
        ({"offload": "all"}, "'none' or 'blocks'"),
    ],
)
def test_what_a_denoiser_cannot_be_is_refused_by_name(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WorkerSettings.load(**given)


def test_ranks_and_narrow_weights_are_off_by_default() -> None:
    settings = WorkerSettings.load()
    assert (settings.ranks, settings.cfg_parallel, settings.offload) == (1, False, "none")
    assert settings.attention_backend is settings.weight_dtype is None
    assert not settings.compile_blocks


def test_models_come_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_WORKER_MODELS", "a, b")
    assert WorkerSettings.load().models == ("a", "b")
    assert WorkerSettings.load(models="c").models == ("c",)


@pytest.mark.parametrize(
    "text", ["unknown: 1", "drain_s: -1", "models: []", "dtype: int3", "queue: {nope: 1}"]
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text(text)
    with pytest.raises(ValidationError) as raised:
        WorkerSettings.load(file)
    assert text.partition(":")[0] in str(raised.value)


def test_settings_travel_to_the_engine_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = WorkerSettings.load(models="a,b", drain_s=3, metrics_port=0)
    monkeypatch.setenv("RHEOSTAT_WORKER_DRAIN_S", "99")
    arrived = WorkerSettings.model_validate_json(settings.model_dump_json())
    assert arrived.model_dump() == settings.model_dump()


@pytest.mark.parametrize(
    "wrong", [["--drain-s", "soon"], ["--config", "/nowhere.yaml"], ["--redis-url", "http://nowhere"]]
)
def test_the_command_refuses_wrong_settings(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", *wrong]) == 2
    assert capsys.readouterr().err


def test_a_missing_extra_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "workers.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.id_generator", None)
    monkeypatch.setenv("RHEOSTAT_WORKER_TRACING__ENDPOINT", "http://127.0.0.1:1")
    assert main(["worker"]) == 2
    assert "rheostat[trace]" in capsys.readouterr().err


def test_a_taken_metrics_port_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["worker", "--metrics-port", str(port)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"metrics cannot be served at 127.0.0.1:{port}")
