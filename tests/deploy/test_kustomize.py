"""The plain files are what the chart renders, and kustomize takes them."""

from __future__ import annotations

import yaml

from deploy.render import BASE, files, objects
from tests.deploy.tools import run


def test_the_plain_files_are_what_the_chart_renders() -> None:
    assert {path.name: path.read_text() for path in BASE.glob("*.yaml")} == files(), "run `make kustomize`"


def test_kustomize_builds_them() -> None:
    built = run("kubectl", "kustomize", str(BASE))
    assert not built.returncode, built.stderr
    found = {(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(built.stdout)}
    assert found == {(one["kind"], one["metadata"]["name"]) for one in objects()}
