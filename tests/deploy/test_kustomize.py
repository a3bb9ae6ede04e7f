"""The plain files are what the chart renders, and kustomize takes them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from deploy.render import BASE, files, objects


def test_the_plain_files_are_what_the_chart_renders() -> None:
    assert {path.name: path.read_text() for path in BASE.glob("*.yaml")} == files(), "run `make kustomize`"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="left out: kubectl is not installed")
def test_kustomize_builds_them() -> None:
    built = subprocess.run(["kubectl", "kustomize", BASE], capture_output=True, text=True, check=True).stdout
    found = {(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(built)}
    assert found == {(one["kind"], one["metadata"]["name"]) for one in objects()}
