"""Write what Prometheus and Grafana need: python -m deploy.observability [--pace 60 --images-s 5 ...]

Without options it writes what is committed: deploy/prometheus/rules.yaml and alerts.yaml,
deploy/grafana/dashboards/*.json, docs/metrics.md. Every field of `Objectives` is an option; with any of them
set, write elsewhere with --out, or keep your own copy. `--pace 60` shortens all windows and waiting times
sixtyfold, so that a drill sees in a minute what production sees in an hour.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import yaml

from deploy.observability.alerts import alerts_file
from deploy.observability.compute import COMPUTE
from deploy.observability.fleet import FLEET
from deploy.observability.objectives import Objectives
from deploy.observability.panels import build, encode
from deploy.observability.quality import QUALITY
from deploy.observability.reference import reference
from deploy.observability.rules import Tree, rules_file
from deploy.observability.service import SERVICE

BOARDS = (COMPUTE, SERVICE, QUALITY, FLEET)
ROOT = Path(__file__).parents[2]
_HEADER = "# Made by `python -m deploy.observability`; do not edit.\n"


def files(objectives: Objectives) -> dict[str, str]:
    """Path below the repository -> contents."""
    return {
        "deploy/prometheus/rules.yaml": _yaml(rules_file(objectives)),
        "deploy/prometheus/alerts.yaml": _yaml(alerts_file(objectives)),
        "docs/metrics.md": reference(),
        **{
            f"deploy/grafana/dashboards/{board.uid}.json": encode(build(board, objectives))
            for board in BOARDS
        },
    }


def write(root: Path, objectives: Objectives) -> None:
    """Write all of them below `root`."""
    for name, contents in files(objectives).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents)


def _yaml(tree: Tree) -> str:
    return _HEADER + yaml.safe_dump(tree, sort_keys=False, width=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT)
    for one in fields(Objectives):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    options = vars(parser.parse_args())
    write(options.pop("out"), Objectives(**options))


if __name__ == "__main__":
    main()
