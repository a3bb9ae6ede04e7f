"""Settings: command line over environment over file over default, and nothing unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from pydantic import ValidationError

from server.cli import main
from server.settings import ServerSettings, is_loopback


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RHEOSTAT_SERVER_PORT", raising=False)


def write(folder: Path, text: str) -> Path:
    file = folder / "server.yaml"
    file.write_text(text)
    return file


def test_the_order_of_strength(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServerSettings.load().port == 8000
    file = write(tmp_path, "port: 1\nqueue:\n  max_queued_jobs: 5\n")
    assert ServerSettings.load(file).port == 1
    monkeypatch.setenv("RHEOSTAT_SERVER_PORT", "2")
    assert ServerSettings.load(file).port == 2
    assert ServerSettings.load(file, port=3).port == 3
    assert ServerSettings.load(file, port=None).port == 2
    assert ServerSettings.load(file).queue.max_queued_jobs == 5


def test_nested_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_SERVER_QUEUE__MAX_QUEUED_JOBS", "9")
    assert ServerSettings.load().queue.max_queued_jobs == 9


@pytest.mark.parametrize("text", ["prot: 1\n", "port: many\n", "queue: {max_jobs: 3}\n"])
def test_a_bad_file_is_refused_by_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ServerSettings.load(write(tmp_path, text))
    name = text.partition(":")[0]
    assert name in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.yaml"):
        ServerSettings.load(tmp_path / "no.yaml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        ServerSettings.load().port = 1  # type: ignore[misc]


def test_the_command_says_which_setting_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--config", str(write(tmp_path, "prot: 1\n"))]) == 2
    assert "prot" in capsys.readouterr().err
    assert main(["server", "--host", "0.0.0.0"]) == 2
    assert "set api_keys, or say allow_anonymous" in capsys.readouterr().err


def test_an_unfit_redis_is_refused_at_start(valkey_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    assert main(["server", "--port", "0", "--redis-url", valkey_url]) == 2
    assert "evicts keys" in capsys.readouterr().err
    assert main(["server", "--port", "0", "--redis-url", "http://nowhere"]) == 2
    assert "must start with redis://" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
