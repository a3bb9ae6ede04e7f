"""`rheostat up` with a real engine: from a prompt to a picture, through kills and a Ctrl-C."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.program import Up, ended, job_of, rheostat, until

pytestmark = pytest.mark.timeout(150)

LONG = 120
"""Steps of a job that is still running when something happens to it."""


def body(seed: int = 7, steps: int = 4, prompt: str = "a red apple") -> dict[str, object]:
    return {"model": "plain", "input": {"prompt": prompt, "seed": seed, "num_inference_steps": steps}}


@pytest.fixture(scope="module")
def model(flux_root: Path) -> Path:
    return flux_root / "plain"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Up]:
    """One system for this file; whoever hurts it leaves it running."""
    folder = tmp_path_factory.mktemp("up")
    system = Up(folder / "data", model, folder / "up.log")
    system.start()
    yield system
    system.close()
    system.require_no_orphan()


def test_generate_follows_the_steps_and_prints_the_receipt(up: Up, tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    words = ["generate", "two red apples", "-o", str(out), "--data-dir", str(up.data_dir)]
    run = rheostat(*words, "--seed", "7", "--budget", "0.5", "--size", "64x64", "--n", "2")
    assert run.returncode == 0, run.stderr
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    second = (tmp_path / "picture-2.png").read_bytes()
    assert digest in run.stdout
    assert hashlib.sha256(second).hexdigest() in run.stdout
    assert "0.5 asked, 0.5 granted, 0.5 spent" in run.stdout
    assert "4/4" in run.stderr, "two samples of two steps each"
    assert "TFLOPs" in run.stderr


def test_generate_prints_the_whole_receipt_as_json(up: Up, tmp_path: Path) -> None:
    words = ["generate", "x", "-o", str(tmp_path / "a.png"), "--data-dir", str(up.data_dir), "--json"]
    run = rheostat(*words, "--steps", "3")
    receipt = json.loads(run.stdout)
    assert [line["index"] for line in receipt["samples"][0]["steps"]] == [0, 1, 2]


def test_generate_says_what_was_wrong(up: Up, tmp_path: Path) -> None:
    run = rheostat(
        "generate", "x", "--data-dir", str(up.data_dir), "--steps", "0", "-o", str(tmp_path / "a.png")
    )
    assert run.returncode == 1
    assert run.stderr.startswith("rheostat: input.num_inference_steps:")
    assert not (tmp_path / "a.png").exists()


def test_models_lists_what_is_served(up: Up) -> None:
    run = rheostat("models", "--data-dir", str(up.data_dir), "--json")
    assert [model["id"] for model in json.loads(run.stdout)] == ["plain"]
    assert "plain" in rheostat("models", "--url", up.url).stdout


async def test_alone_equals_in_company_over_http(up: Up) -> None:
    """One request alone, then the same among strangers with other steps and seeds: the same PNG bytes."""
    async with httpx.AsyncClient(base_url=up.url, timeout=60) as http:
        alone = await _picture(http, seed=7, steps=9)
        strangers = [
            _picture(http, seed=seed, steps=steps) for seed, steps in [(1, 4), (2, 12), (3, 7), (4, 30)]
        ]
        together = await asyncio.gather(_picture(http, seed=7, steps=9), *strangers)
    assert together[0] == alone
    assert len(set(together)) == 5


def test_events_and_receipt_agree(up: Up) -> None:
    job_id = httpx.post(f"{up.url}/v1/generations", json=body(steps=5)).json()["id"]
    events = httpx.get(f"{up.url}/v1/generations/{job_id}/events", timeout=30).text
    steps = [json.loads(line[6:]) for line in events.splitlines() if line.startswith('data: {"type":"step"')]
    receipt = httpx.get(f"{up.url}/v1/generations/{job_id}/receipt").json()
    assert [step["index"] for step in steps] == [0, 1, 2, 3, 4]
    assert sum(step["tflops"] for step in steps) == pytest.approx(receipt["tflops"])
    assert receipt["tflops"] == pytest.approx(receipt["full_tflops"])


def test_a_killed_gateway_is_replaced_and_nobody_is_refused(up: Up) -> None:
    """The listening socket is `up`'s, so connections wait for the next gateway instead of failing."""
    gateway = up.child("server server")
    gateway.kill()
    answer = httpx.post(f"{up.url}/v1/generations", json=body(), timeout=30)
    assert answer.status_code == 202
    assert ended(up.url, answer.json()["id"])["status"] == "completed"
    assert up.child("server server").pid != gateway.pid


def test_a_killed_worker_is_replaced(up: Up) -> None:
    up.child("workers worker").kill()
    job_id = httpx.post(f"{up.url}/v1/generations", json=body()).json()["id"]
    assert ended(up.url, job_id, within_s=60)["status"] == "completed"


def test_a_killed_valkey_is_replaced_and_knows_the_jobs(up: Up) -> None:
    job_id = httpx.post(f"{up.url}/v1/generations", json=body(steps=LONG)).json()["id"]
    up.child("valkey-server").kill()
    until(lambda: job_of(up.url, job_id).get("id") == job_id, 20, lambda: "the job is known again")
    assert ended(up.url, job_id, within_s=60)["status"] == "completed"


def test_ctrl_c_hands_back_or_ends_what_runs(up: Up) -> None:
    """After the next start every job ends, and none counts a second attempt: handing back is no crash."""
    jobs = [httpx.post(f"{up.url}/v1/generations", json=body(seed, LONG)).json()["id"] for seed in range(6)]
    until(lambda: job_of(up.url, jobs[0])["status"] != "queued", 20, lambda: "the first job runs")
    assert up.interrupt() == 0
    up.require_no_orphan()
    up.start()
    for job_id in jobs:
        job = ended(up.url, job_id, within_s=60)
        assert (job["status"], job["attempts"]) == ("completed", 1)


def test_a_killed_up_leaves_no_orphan_and_forgets_no_job(up: Up) -> None:
    done = httpx.post(f"{up.url}/v1/generations", json=body()).json()["id"]
    before = ended(up.url, done)
    running = httpx.post(f"{up.url}/v1/generations", json=body(steps=LONG)).json()["id"]
    up.kill()
    up.require_no_orphan()
    up.start()
    after = job_of(up.url, done)
    assert (after["status"], after["created_at"]) == ("completed", before["created_at"])
    [artifact] = after["artifacts"]  # type: ignore[misc]
    assert hashlib.sha256(httpx.get(artifact["url"]).content).hexdigest() == artifact["sha256"]
    assert ended(up.url, running, within_s=60)["status"] == "completed"


def test_a_data_directory_in_use(up: Up, model: Path) -> None:
    run = rheostat("up", "--port", "0", "--data-dir", str(up.data_dir), "--models", str(model))
    assert run.returncode == 1
    assert f"is in use by process {up.pid}" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_port_in_use(up: Up, model: Path, tmp_path: Path) -> None:
    port = up.url.rpartition(":")[2]
    run = rheostat("up", "--port", port, "--data-dir", str(tmp_path), "--models", str(model))
    assert run.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in run.stderr
    assert not list(tmp_path.iterdir()), "nothing was started"


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    run = rheostat("up", "--port", "0", "--data-dir", str(tmp_path), "--models", str(tmp_path / "no-model"))
    assert run.returncode == 1
    assert "worker-0 ended with exit code" in run.stderr


def test_generate_starts_a_server_for_the_call(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    data_dir = tmp_path / "data"
    run = rheostat(
        "generate", "a red apple", "-o", str(out), "--model", str(model), "--data-dir", str(data_dir)
    )
    assert run.returncode == 0, run.stderr
    assert hashlib.sha256(out.read_bytes()).hexdigest() in run.stdout
    assert not (data_dir / "up.json").exists()


async def _picture(http: httpx.AsyncClient, *, seed: int, steps: int) -> bytes:
    sent = {"prompt": f"picture {seed}", "seed": seed, "num_inference_steps": steps}
    answer = await http.post("/v1/images/generations", json=sent)
    return base64.b64decode(answer.json()["data"][0]["b64_json"])
