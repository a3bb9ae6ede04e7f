"""Render the chart: `python -m deploy.render` writes deploy/kustomize/base, the chart's defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

DEPLOY = Path(__file__).resolve().parent
CHART = DEPLOY / "helm" / "rheostat"
BASE = DEPLOY / "kustomize" / "base"
NAME = "rheostat"
HEADER = "# Rendered from the chart's default values by `make kustomize`; change the chart, not this file.\n"


def objects(values: dict[str, Any] | None = None, name: str = NAME) -> list[dict[str, Any]]:
    """Every object the chart makes of these values, in a fixed order.

    Raises:
        HelmError: the values do not fit the schema, or a template refuses them.
    """
    with Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace=NAME)
    found = [one for path in sorted(files) for one in yaml.safe_load_all(files[path]) if one]
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


def files() -> dict[str, str]:
    """The plain files by name, one a kind, and the kustomization that lists them."""
    rendered = objects()
    kinds = sorted({one["kind"] for one in rendered})
    texts = {f"{kind.lower()}.yaml": _documents(rendered, kind) for kind in kinds}
    listing = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAME,
        "resources": list(texts),
    }
    return texts | {"kustomization.yaml": HEADER + _yaml(listing)}


def _documents(rendered: list[dict[str, Any]], kind: str) -> str:
    return HEADER + "---\n".join(_yaml(one) for one in rendered if one["kind"] == kind)


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=1000)


def main() -> None:
    BASE.mkdir(parents=True, exist_ok=True)
    for old in BASE.glob("*.yaml"):
        old.unlink()
    for name, text in files().items():
        (BASE / name).write_text(text)


if __name__ == "__main__":
    main()
