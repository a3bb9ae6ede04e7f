"""The scaler's query says how many pods the waiting work is worth; asked of Prometheus' own engine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy.render import objects
from tests.deploy.charts import of_kind
from tests.deploy.tools import needs_promtool

GATEWAYS = 'namespace="rheostat",service="rheostat-gateway"'
"""How the chart's ServiceMonitor has the gateways' series labelled."""


def scaler(models: list[str], **scaling: Any) -> dict[str, Any]:
    """The ScaledObject the chart makes for a class of these models."""
    found = objects({"workers": {"flux-tiny": {"models": models, "scaling": scaling}}})
    [scaled] = [one for one in found if one["kind"] == "ScaledObject"]
    return scaled


def query(models: list[str], **scaling: Any) -> str:
    """The query of its first trigger."""
    text: str = scaler(models, **scaling)["spec"]["triggers"][0]["metadata"]["query"]
    return text


def series(name: str, value: float, **labels: str) -> dict[str, str]:
    text = "".join(f',{label}="{one}"' for label, one in labels.items())
    return {"series": f"{name}{{{GATEWAYS}{text}}}", "values": f"{value}x20"}


def gateway(
    pod: str, outstanding: dict[str, float], speed: dict[str, float], up: int = 1
) -> list[dict[str, str]]:
    """What one gateway's /metrics says."""
    told = [series("rheostat_redis_up", up, pod=pod)]
    told += [
        series("rheostat_outstanding_tflops", one, model=name, pod=pod) for name, one in outstanding.items()
    ]
    return told + [
        series("rheostat_model_tflops_per_second", one, model=name, pod=pod) for name, one in speed.items()
    ]


class Case(NamedTuple):
    """What Prometheus answers: `pods`, as exactly one element; None: nothing, which is an error to KEDA."""

    query: str
    given: list[dict[str, str]]
    pods: float | None
    at: str = "1m"

    def described(self) -> dict[str, Any]:
        samples = [] if self.pods is None else [{"labels": "{}", "value": self.pods}]
        expectation = {"expr": self.query, "eval_time": self.at, "exp_samples": samples}
        return {"interval": "15s", "input_series": self.given, "promql_expr_test": [expectation]}


def check(folder: Path, *cases: Case) -> None:
    """One run of promtool for all: it takes longer to start than to answer."""
    path = folder / "cases.yaml"
    tests = [case.described() for case in cases]
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": tests}, width=10_000))
    found = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@needs_promtool
def test_pods_for_one_model(tmp_path: Path) -> None:
    asked = query(["flux-tiny"], targetSeconds=60)
    busy, later = ({"flux-tiny": outstanding} for outstanding in (1200, 900))
    speed = {"flux-tiny": 10}
    check(
        tmp_path,
        # 1200 TFLOPs wait, 10 a second for 60 s are a pod's share: two pods.
        Case(asked, gateway("a", busy, speed), 2.0),
        # A second gateway reads the same Redis a moment later: not counted twice.
        Case(asked, gateway("a", busy, speed) + gateway("b", later, speed), 2.0),
        # Nothing waits: no pod, and the model is known.
        Case(asked, gateway("a", {"flux-tiny": 0}, speed), 0.0),
        # Never measured: one pod if anything waits, to measure it.
        Case(asked, gateway("a", {"flux-tiny": 5}, {"flux-tiny": 0}), 1.0),
        Case(asked, gateway("a", {"flux-tiny": 0}, {"flux-tiny": 0}), 0.0),
        # Never catalogued: one pod, which catalogues it; its jobs would be refused till then.
        Case(asked, gateway("a", {}, {}), 1.0),
        Case(asked, gateway("a", {"other": 500}, {"other": 1}), 1.0),
        # Redis is away, or nobody is scraped: no answer, so KEDA keeps what stands.
        Case(asked, gateway("a", {}, {}, up=0), None),
        Case(asked, [], None),
    )


@needs_promtool
def test_classes_of_several_models_and_of_one(tmp_path: Path) -> None:
    both = {"o/n.1": 10, "wan": 20, "o/nx1": 1}
    second = query(["flux-tiny"], targetSeconds=60, offset=4)
    check(
        tmp_path,
        # 600 at 10 TFLOP/s and 3000 at 20 in 60 s: one pod and two and a half. A hub's name is no pattern.
        Case(
            query(["o/n.1", "wan"], targetSeconds=60),
            gateway("a", {"o/n.1": 600, "wan": 3000, "o/nx1": 9e9}, both),
            3.5,
        ),
        # The same, but what waits for wan may take 600 s: a quarter of a pod.
        Case(
            query(["o/n.1", "wan"], targetSeconds=60, targetSecondsOf={"wan": 600}),
            gateway("a", {"o/n.1": 600, "wan": 3000, "o/nx1": 9e9}, both),
            1.25,
        ),
        # One of two is unknown: a pod.
        Case(query(["flux-tiny", "wan"]), gateway("a", {"flux-tiny": 0}, {"flux-tiny": 10}), 1.0),
        # Two and six pods' worth, of which the first four are another class's.
        Case(second, gateway("a", {"flux-tiny": 1200}, {"flux-tiny": 10}), 0.0),
        Case(second, gateway("a", {"flux-tiny": 3600}, {"flux-tiny": 10}), 2.0),
    )


@needs_promtool
def test_pods_are_kept_for_what_runs(tmp_path: Path) -> None:
    """Two workers run 20 and 10 TFLOPs a second of a model that makes 10 a second: three at work, to be busy
    for .6 of the time. What another class runs of it does not count; without workers there is no answer.
    """
    [_, trigger] = scaler(["flux-tiny"], busyTarget=0.6)["spec"]["triggers"]
    asked, known = trigger["metadata"]["query"], gateway("a", {"flux-tiny": 0}, {"flux-tiny": 10})
    assert trigger["metadata"]["ignoreNullValues"] == "true"
    labels = 'namespace="rheostat",model="flux-tiny",action="full"'
    told = [
        {
            "series": f'rheostat_step_tflops_total{{{labels},service="{service}",pod="{pod}"}}',
            "values": f"0+{each}x20",
        }
        for service, pod, each in (
            ("rheostat-worker-flux-tiny", "x", 300),
            ("rheostat-worker-flux-tiny", "y", 150),
            ("rheostat-worker-other", "z", 9000),
        )
    ]  # fmt: skip
    check(tmp_path, Case(asked, known + told, 5.0, "4m"), Case(asked, known, None))


def test_the_trigger_takes_silence_for_an_error() -> None:
    for scaled in (*of_kind("default", "ScaledObject"), *of_kind("full", "ScaledObject")):
        trigger = scaled["spec"]["triggers"][0]
        assert trigger["metadata"]["threshold"] == "1"
        assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_a_folder_is_asked_for_by_its_last_part() -> None:
    """As the catalogue calls it."""
    texts = [one["spec"]["triggers"][0]["metadata"]["query"] for one in of_kind("full", "ScaledObject")]
    assert any('model=~"Wan2\\\\.1-T2V-14B-Diffusers"' in text for text in texts)
    assert any('model=~"black-forest-labs/FLUX\\\\.1-dev"' in text for text in texts)
