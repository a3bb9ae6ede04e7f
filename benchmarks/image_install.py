"""The Dockerfile's own install steps, run where no container engine is, and what they made started.

    python -m benchmarks.image_install [--worker] [--python /usr/bin/python3.11] [--keep FOLDER]

Taken from the Dockerfile as it stands: what its context lets in, the RUN steps of the build stages, and of
the final stages ENV, ENTRYPOINT, CMD, HEALTHCHECK and USER. Paths are moved under a clean folder; steps that
call apt-get are left out, and tini is not put before the worker. What was installed is owned by who runs this
and cannot be written by the image's user, as whom the gateway (with --worker: and the worker) is started, so
run it as root. Shown: the health checks pass, the gateway answers, with --worker a picture is made; and the
size of the gateway's image, the base's as an assumption. Writes docs/results/image_install.json and .md; the
last line is one JSON object. The server takes minutes, mostly of the index's; the worker
installs torch, from the default index.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.reports import RESULTS, publish
from deploy.dockerfile import DOCKERFILE, Stage, stages
from server.valkey import EmbeddedValkey

ROOT = Path(__file__).resolve().parents[1]
ASSUMED_BASE_MB = 131
"""python:3.11-slim-bookworm unpacked, as published; it cannot be pulled here."""
LIMIT_MB = 250
MOVED = ("/opt/", "/var/lib/rheostat", "/var/cache/rheostat", "/tmp")
READY_S = 300
ROLES = {"server": "server", "worker": "worker-cpu"}
"""The stages of the Dockerfile that are installed."""
PORTS = {"RHEOSTAT_SERVER_PORT": "18765", "RHEOSTAT_WORKER_METRICS_PORT": "18766"}


class Place:
    """The clean folder that stands for the image's root."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.python = python
        for path in MOVED:
            (root / path.strip("/")).mkdir(parents=True, exist_ok=True)

    def moved(self, text: str) -> str:
        """The image's paths in `text`, under the root."""
        pattern = "|".join(re.escape(path) for path in MOVED)
        return re.sub(rf"(?<![\w/])({pattern})", lambda found: f"{self.root}{found[1]}", text)

    def environment(self, stage: Stage) -> dict[str, str]:
        """The stage's ENV, moved, and nothing of ours."""
        env = {name: self.moved(value) for name, value in stage.env.items()}
        path = env.get("PATH", "$PATH").replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        return env | {"PATH": path} | {name: port for name, port in PORTS.items() if name in env}

    def give(self, stage: Stage) -> None:
        """Let the image's user write to its volumes and to /tmp, and to nothing else."""
        for path in ("/tmp", *stage.volumes):
            folder = Path(self.moved(path))
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, *(int(number) for number in stage.user.split(":")))


def copy_context(target: Path) -> None:
    """What `Dockerfile.dockerignore` lets into the build."""
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    shut_out = [line.removeprefix("**/") for line in rules if line[0] != "!" and line != "*"]

    def ignore(folder: str, names: list[str]) -> set[str]:
        inside = {name: str((Path(folder) / name).relative_to(ROOT)) for name in names}
        return {
            name
            for name, path in inside.items()
            for rule in shut_out
            if fnmatch.fnmatch(name, rule) or path == rule
        }

    for line in (line[1:] for line in rules if line.startswith("!")):
        source, goal = ROOT / line, target / line
        goal.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, goal, ignore=ignore)
        elif source.is_file():
            shutil.copy(source, goal)
    shutil.copy(target / "deploy/docker/install.py", target)


def install(stage: Stage, place: Place, source: Path) -> float:
    """Run the build stage's steps; seconds they took."""
    started = time.perf_counter()
    for step in stage.runs:
        if "apt-get" in step:
            continue
        words = re.sub(r"\bpython install", f"{place.python} install", place.moved(step))
        subprocess.run(["sh", "-ec", words], cwd=source, check=True)
    return time.perf_counter() - started


@contextmanager
def running(stage: Stage, place: Place, more: dict[str, str]) -> Iterator[None]:
    """The stage's ENTRYPOINT and CMD as its user, until its HEALTHCHECK passes; ended by SIGTERM."""
    user, group = (int(number) for number in stage.user.split(":"))
    words = [*stage.entrypoint, *stage.command]
    words = words[words.index("--") + 1 :] if "--" in words else words
    env = place.environment(stage) | more
    identity: dict[str, Any] = {"user": user, "group": group, "extra_groups": []}
    binary = shutil.which(words[0], path=env["PATH"])
    assert binary is not None, words
    process = subprocess.Popen([binary, *words[1:]], env=env, cwd=place.root / "tmp", **identity)
    try:
        check = [shutil.which(stage.healthcheck[0], path=env["PATH"]) or "", *stage.healthcheck[1:]]
        deadline = time.monotonic() + READY_S
        while subprocess.run(check, env=env, capture_output=True, **identity, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{stage.name} did not become healthy")
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(60)


def unwritable(stage: Stage, place: Place) -> bool:
    """Whether the image's user can write nowhere in what was installed."""
    user, group = (int(number) for number in stage.user.split(":"))
    found = subprocess.run(
        ["find", str(place.root / "opt"), "-writable", "-not", "-type", "l", "-print", "-quit"],
        user=user, group=group, extra_groups=[], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return not found.stdout


def size_mb(folder: Path) -> float:
    """Bytes of the files, in MB."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def picture(url: str) -> dict[str, Any]:
    """One picture of four steps, from the gateway."""
    body = {
        "model": "flux-tiny", "prompt": "two red apples on a blue background",
        "size": "64x64", "num_inference_steps": 4, "seed": 7,
    }  # fmt: skip
    answer = httpx.post(f"{url}/v1/images/generations", json=body, timeout=120)
    return {"status": answer.status_code, "bytes": len(answer.json()["data"][0]["b64_json"]) * 3 // 4}


def serve(found: dict[str, Stage], places: dict[str, Place], redis_url: str) -> dict[str, Any]:
    """Start what was installed; what it answers."""
    store = str(places["server"].root / "var/lib/rheostat/artifacts")
    url = f"http://127.0.0.1:{PORTS['RHEOSTAT_SERVER_PORT']}"
    server = {
        "RHEOSTAT_SERVER_REDIS_URL": redis_url,
        "RHEOSTAT_SERVER_ALLOW_ANONYMOUS": "true",
        "RHEOSTAT_SERVER_ARTIFACTS": store,
    }
    report: dict[str, Any] = {}
    with ExitStack() as stack:
        stack.enter_context(running(found["server"], places["server"], server))
        report["ready"] = httpx.get(f"{url}/readyz", timeout=10).status_code
        if "worker" in places:
            worker = {
                "RHEOSTAT_WORKER_REDIS_URL": redis_url,
                "RHEOSTAT_WORKER_ARTIFACTS": store,
                "RHEOSTAT_WORKER_DTYPE": "float32",
            }
            stack.enter_context(running(found["worker-cpu"], places["worker"], worker))
            report["picture"] = picture(url)
    return report


def markdown(report: dict[str, Any]) -> str:
    made = report.get("picture")
    worker = "not installed in this run"
    if made:
        worker = f"installed in {report['seconds']['worker']} s, healthy, a picture of {made['bytes']} bytes"
    lines = [
        "# The images' install steps, run without an engine", "",
        "`python -m benchmarks.image_install" + (" --worker`" if made else "`"), "",
        f"- gateway: installed in {report['seconds']['server']} s, started as uid 10001 on a tree it cannot "
        f"write, healthy, `/readyz` says {report['ready']}",
        f"- worker: {worker}",
        f"- size of the gateway's image: {report['installed_mb']} MB installed and {ASSUMED_BASE_MB} MB "
        f"assumed for its base, {report['image_mb']} MB (limit {LIMIT_MB} MB)",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def set_up(folder: Path, python: str, found: dict[str, Stage], report: dict[str, Any], role: str) -> Place:
    """Install one role into the folder; tell how long it took and whether it can be written."""
    target = ROLES[role]
    place, source = Place(folder / role, python), folder / f"{role}-source"
    copy_context(source)
    report["seconds"][role] = round(install(found[f"build-{target}"], place, source), 1)
    if role == "worker":
        shutil.copytree(source / "checkpoints", place.root / "opt/checkpoints")
    place.give(found[target])
    report[f"{role}_unwritable"] = unwritable(found[target], place)
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", action="store_true", help="the worker too")
    parser.add_argument("--python", default="/usr/bin/python3.11", help="any user must be able to run it")
    parser.add_argument("--keep", type=Path, help="work here and leave it")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = stages()
    report: dict[str, Any] = {"benchmark": "image_install", "seconds": {}}
    with ExitStack() as stack:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="rheostat-image-"))
        folder = options.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        roles = ROLES if options.worker else ("server",)
        places = {role: set_up(folder, options.python, found, report, role) for role in roles}
        report["installed_mb"] = round(size_mb(places["server"].root / "opt"), 1)
        report["image_mb"] = round(report["installed_mb"] + ASSUMED_BASE_MB, 1)
        with EmbeddedValkey(folder / "valkey") as valkey:
            report |= serve(found, places, valkey.url)
    publish(report, markdown(report), options.out)
    assert report["image_mb"] < LIMIT_MB, "the gateway's image grew over its limit"
    assert all(report[f"{role}_unwritable"] for role in places), "the image's user can write to what it runs"


if __name__ == "__main__":
    main()
