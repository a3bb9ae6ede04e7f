"""What the chart makes of the three sets of values that are kept for tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from deploy.render import CHART, objects

SETS = ("default", "minimal", "full")


def values(name: str) -> dict[str, Any] | None:
    """The values of a set; None: the chart's own."""
    if name == "default":
        return None
    loaded: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    return loaded


@cache
def rendered(name: str) -> tuple[dict[str, Any], ...]:
    """Every object of a set; not to be changed."""
    return tuple(objects(values(name)))


def of_kind(name: str, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in rendered(name) if one["kind"] in kinds]


def named(name: str, kind: str, object_name: str) -> dict[str, Any]:
    [found] = [one for one in of_kind(name, kind) if one["metadata"]["name"] == object_name]
    return found


def pods(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and pod spec of everything that runs."""
    owners = of_kind(name, "Deployment", "StatefulSet")
    return [(one["metadata"]["name"], one["spec"]["template"]["spec"]) for one in owners]
