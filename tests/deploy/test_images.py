"""The Dockerfile, the compose file, and what of them can be run without an engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from deploy.docker import install
from deploy.dockerfile import DOCKERFILE, stages
from server.settings import ServerSettings
from tests.deploy.tools import ROOT, run
from tests.plugins.valkey import free_port
from workers.settings import WorkerSettings

COMPOSE = ROOT / "deploy" / "compose" / "docker-compose.yml"
FINAL = ("server", "worker", "worker-cpu")
WORKERS = FINAL[1:]
each_final = pytest.mark.parametrize("target", FINAL)


def test_hadolint_finds_nothing() -> None:
    found = run("hadolint", str(DOCKERFILE))
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd / && pip install torch\n")
    assert "DL3006" in run("hadolint", str(bad)).stdout


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_takes_the_file(profile: str) -> None:
    found = run("docker-compose", "-f", str(COMPOSE), "--profile", profile, "config", "-q")
    assert (found.returncode, found.stderr) == (0, "")


def test_compose_refuses_a_misspelt_key(tmp_path: Path) -> None:
    bad = tmp_path / "docker-compose.yml"
    bad.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace_perod"))
    assert run("docker-compose", "-f", str(bad), "--profile", "cpu", "config", "-q").returncode != 0


def test_compose_sets_what_the_processes_know() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    told = {name for one in services.values() for name in one.get("environment", {})}
    assert {name for name in told if name.startswith("RHEOSTAT_")} <= variables()
    assert services["worker-cpu"]["profiles"] == ["cpu"]


def test_yaml_is_tidy() -> None:
    found = run("yamllint", "--strict", "-c", ".yamllint.yaml", "deploy", "configs")
    assert (found.returncode, found.stdout) == (0, "")


def variables() -> set[str]:
    """Every environment variable a setting can come from."""
    server = {f"RHEOSTAT_SERVER_{name}".upper() for name in ServerSettings.model_fields}
    return server | {f"RHEOSTAT_WORKER_{name}".upper() for name in WorkerSettings.model_fields}


@each_final
def test_images_run_as_nobody_and_say_how_they_are(target: str) -> None:
    stage = stages()[target]
    assert stage.user == "10001:10001"
    assert stage.healthcheck
    assert "/var/lib/rheostat/artifacts" in stage.volumes
    assert ("/var/cache/rheostat" in stage.volumes) is (target in WORKERS)
    own = {"RHEOSTAT_CHECKPOINTS"}
    assert {name for name in stage.env if name.startswith("RHEOSTAT_")} - own <= variables()


@each_final
def test_bases_are_pinned_by_a_whole_version(target: str) -> None:
    assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+-[\w.-]+", stages()[target].base)


def test_the_gateways_image_needs_no_torch() -> None:
    assert "build-server" in stages()["server"].copies_from
    names = [re.split(r"[\[<>=]", line)[0] for line in install.requirements("server")]
    assert "fastapi" in names
    assert not {"torch", "diffusers", "transformers"} & set(names)


def test_everything_that_is_installed_is_pinned() -> None:
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.split("==")[0].lower().replace("_", "-") for line in pinned}
    for role in install.EXTRAS:
        names = {re.split(r"[\[<>=]", line)[0].lower() for line in install.requirements(role)}
        assert names <= pins, role
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {re.split(r"[<>=]", line)[0] for line in build} <= pins


def test_the_context_lets_in_what_the_build_reads() -> None:
    lines = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*"
    assert [path for path in let_in if not (ROOT / path).exists()] == []


def test_a_gateway_starts_as_its_image_says(valkey_url: str, tmp_path: Path) -> None:
    """ENV, CMD and HEALTHCHECK of the image, from sources nobody can write to; no bytecode, no home."""
    stage, port = stages()["server"], str(free_port())
    tree = tmp_path / "tree"
    for package in ("protocol", "server"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a-w", tree], check=True)
    env = stage.env | {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tree),
        "RHEOSTAT_SERVER_PORT": port,
        "RHEOSTAT_SERVER_REDIS_URL": valkey_url,
        "RHEOSTAT_SERVER_ALLOW_ANONYMOUS": "true",
        "RHEOSTAT_SERVER_ARTIFACTS": str(tmp_path / "artifacts"),
    }
    words = [sys.executable, "-m", "server", *stage.command]
    process = subprocess.Popen(words, env=env, cwd=tmp_path)
    try:
        check = [sys.executable, *stage.healthcheck[1:]]
        until = time.monotonic() + 45
        while subprocess.run(check, env=env, capture_output=True, check=False).returncode:
            assert process.poll() is None, "the gateway ended"
            assert time.monotonic() < until, "the gateway did not become healthy"
            time.sleep(0.2)
    finally:
        process.terminate()
        assert process.wait(20) == 0
        subprocess.run(["chmod", "-R", "u+w", tree], check=True)
    assert not list(tree.rglob("__pycache__"))
