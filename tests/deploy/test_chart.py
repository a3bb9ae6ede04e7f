"""The chart renders what Kubernetes takes, and what it renders is safe and is what our settings know."""

from __future__ import annotations

import copy
import functools
import tomllib
from pathlib import Path
from typing import Any

import helm_python.chart
import jsonschema
import kubernetes_validate
import pytest
import yaml
from helm_python.errors import HelmError

from deploy.render import CHART, objects
from server.settings import ServerSettings
from tests.deploy import crds
from tests.deploy.charts import SETS, named, of_kind, pods, rendered, values
from workers.settings import WorkerSettings

KUBERNETES = ("1.32", "1.34", "1.37")
each_set = pytest.mark.parametrize("name", SETS)


@pytest.fixture(scope="module", autouse=True)
def read_schemas_once() -> Any:
    """kubernetes-validate parses all definitions again for each object."""
    with pytest.MonkeyPatch.context() as patch:
        reader = functools.cache(kubernetes_validate.utils.schema_contents)
        patch.setattr(kubernetes_validate.utils, "schema_contents", reader)
        yield


def validate(found: dict[str, Any], version: str) -> None:
    """Against Kubernetes' schemas, and what they do not know against ours."""
    try:
        kubernetes_validate.validate(found, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        crds.validate(found)


@each_set
def test_it_passes_helms_lint(name: str) -> None:
    found = helm_python.chart.lint(CHART, values=values(name), strict=True)
    assert [one for one in found["messages"] if one["severity"] > 1] == []
    assert found["errors"] == []


@each_set
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_every_object(name: str, version: str) -> None:
    for found in rendered(name):
        validate(found, version)


@pytest.mark.parametrize(
    ("kind", "path", "error"),
    [
        ("Deployment", ("spec", "template", "spec", "hostNetwrok"), kubernetes_validate.ValidationError),
        ("NetworkPolicy", ("spec", "policytypes"), kubernetes_validate.ValidationError),
        ("ScaledObject", ("spec", "minReplicas"), jsonschema.ValidationError),
        ("ScaledObject", ("spec", "advanced", "behaviour"), jsonschema.ValidationError),
        ("ServiceMonitor", ("spec", "endpoint"), jsonschema.ValidationError),
    ],
)  # fmt: skip
def test_a_misspelt_field_is_found(kind: str, path: tuple[str, ...], error: type[Exception]) -> None:
    broken = copy.deepcopy(of_kind("default", kind)[0])
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = {}
    with pytest.raises(error):
        validate(broken, KUBERNETES[0])


def test_a_kind_nobody_knows_is_not_taken_for_valid() -> None:
    with pytest.raises(KeyError):
        validate({"apiVersion": "example.org/v1", "kind": "Unheard", "metadata": {"name": "x"}}, "1.34")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"replicas": "two"}}, "replicas"),
        ({"workers": {"x": {"models": ["m"], "scaling": {"targetSecond": 5}}}}, "targetSecond"),
        ({"workers": {"x": {"models": ["m"], "settings": {"device": "cpu"}}}}, "device"),
        ({"workers": {"x": {"models": ["m"], "drainSeconds": 30}}}, "longer than a step"),
        ({"workers": {"x": {"models": []}}}, "models is empty"),
        ({"workers": {"x": {"models": ["m"], "modelCache": {"kind": "template"}}}}, "StatefulSet"),
        ({"workers": {"Flux": {"models": ["m"]}}}, "Flux"),
        ({"redis": {"url": "localhost"}}, "url"),
    ],
)
def test_bad_values_are_refused_by_name(given: dict[str, Any], told: str) -> None:
    with pytest.raises(HelmError, match=told):
        objects(given)


def test_every_value_is_in_the_schema() -> None:
    """All objects of the schema are closed, so the defaults passing says that each default is described."""
    with helm_python.chart.Chart.load(CHART) as chart:
        schema, defaults = chart.schema, chart.values
    assert schema is not None
    jsonschema.validate(defaults, schema)
    assert set(schema["properties"]) - {"global"} == set(defaults)
    assert set(schema["$defs"]["worker"]["properties"]) == set(defaults["workerDefaults"])


@each_set
def test_pods_are_hardened(name: str) -> None:
    for owner, pod in pods(name):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, owner
        assert context["runAsUser"] == 10001, owner
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert pod["automountServiceAccountToken"] is False, owner
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, owner
            assert "memory" in container["resources"]["limits"], owner
            assert all("value" not in one for one in container["env"] if "SECRET" in one["name"]), owner


@each_set
def test_settings_files_are_taken_by_the_processes(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RHEOSTAT_SERVER_ALLOW_ANONYMOUS", "true")
    for config in of_kind(name, "ConfigMap"):
        [(file, text)] = config["data"].items()
        path = tmp_path / file
        path.write_text(text)
        kind = ServerSettings if file == "server.yaml" else WorkerSettings
        kind.load(path)


@each_set
def test_environment_variables_are_fields_of_the_settings(name: str) -> None:
    known = {f"RHEOSTAT_SERVER_{field}".upper() for field in ServerSettings.model_fields}
    known |= {f"RHEOSTAT_WORKER_{field}".upper() for field in WorkerSettings.model_fields}
    for owner, pod in pods(name):
        names = {one["name"] for one in pod["containers"][0]["env"] if one["name"].startswith("RHEOSTAT_")}
        assert names <= known, owner


def test_keys_from_a_secret_are_what_the_gateway_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = named("full", "Secret", "rheostat-api-keys")
    monkeypatch.setenv("RHEOSTAT_SERVER_API_KEYS", secret["stringData"]["keys"])
    assert ServerSettings.load(host="0.0.0.0").api_keys["team-a"].models == ("black-forest-labs/FLUX.1-dev",)


@each_set
def test_pods_outlive_their_drain(name: str) -> None:
    """Kubernetes kills after the grace period, so hook, drain and hand-back (5 s) must fit into it."""
    for owner, pod in pods(name):
        [container] = pod["containers"]
        hook = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        [(_, text)] = named(name, "ConfigMap", owner)["data"].items()
        settings = yaml.safe_load(text)
        assert pod["terminationGracePeriodSeconds"] > hook + settings["drain_s"] + 5, owner
        if "step_timeout_s" in settings:
            assert settings["drain_s"] > settings["step_timeout_s"], owner
        else:
            assert hook > 0, owner


@each_set
def test_what_pods_refer_to_is_made_or_named(name: str) -> None:
    """Priority classes, configurations and claims of the chart's own; secrets are the operator's or ours."""
    made = {(one["kind"], one["metadata"]["name"]) for one in rendered(name)}
    for owner, pod in pods(name):
        if "priorityClassName" in pod:
            assert ("PriorityClass", pod["priorityClassName"]) in made, owner
        maps = [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]
        assert {("ConfigMap", one) for one in maps} <= made, owner
        mounts = {one["name"] for one in pod["containers"][0]["volumeMounts"]}
        templates = {"models"} if owner.endswith("wan-h200") else set()
        assert mounts == {one["name"] for one in pod["volumes"]} | templates, owner


def test_the_chart_is_of_this_version() -> None:
    project = tomllib.loads((CHART.parents[2] / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project["version"]


def test_a_class_stands_on_its_gpus() -> None:
    worker = named("full", "StatefulSet", "rheostat-worker-wan-h200")["spec"]["template"]["spec"]
    [container] = worker["containers"]
    assert container["resources"]["limits"] == {"memory": "512Gi", "nvidia.com/gpu": "4"}
    assert worker["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == 3600
    assert container["image"].startswith("registry.example.org/ml/rheostat-worker@sha256:")
    spot = named("full", "Deployment", "rheostat-worker-flux-h100-spot")["spec"]["template"]["spec"]
    classes = {one["metadata"]["name"]: one for one in of_kind("full", "PriorityClass")}
    assert classes[spot["priorityClassName"]]["preemptionPolicy"] == "Never"
    assert classes[spot["priorityClassName"]]["value"] < classes[worker["priorityClassName"]]["value"]


@each_set
def test_selectors_find_what_they_are_for(name: str) -> None:
    """Services, budgets, monitors and policies select by labels that some pod or service carries."""
    labels = [
        one["spec"]["template"]["metadata"]["labels"] for one in of_kind(name, "Deployment", "StatefulSet")
    ]
    services = [one["metadata"]["labels"] for one in of_kind(name, "Service")]
    wanted = [(one, one["spec"]["selector"], labels) for one in of_kind(name, "Service")]
    wanted += [
        (one, one["spec"]["selector"]["matchLabels"], labels) for one in of_kind(name, "PodDisruptionBudget")
    ]
    wanted += [
        (one, one["spec"]["podSelector"]["matchLabels"], labels) for one in of_kind(name, "NetworkPolicy")
    ]
    wanted += [
        (one, one["spec"]["selector"]["matchLabels"], services) for one in of_kind(name, "ServiceMonitor")
    ]
    for owner, selector, carried in wanted:
        assert any(selector.items() <= one.items() for one in carried), owner["metadata"]["name"]
