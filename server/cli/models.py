"""`rheostat models`: what is served."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from server.cli.connecting import add_connection_arguments

    add_connection_arguments(parser)
    parser.add_argument("--json", action="store_true", help="the server's answer as it is")


def run(options: argparse.Namespace) -> int:
    from server.cli.connecting import running_client

    with running_client(options) as client:
        models = client.models()
    if options.json:
        print(json.dumps(models, indent=2))
    else:
        _table(models)
    return 0


def _table(models: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "family", "makes", "sizes", "steps", "least budget", "methods")
    for model in models:
        table.add_row(
            model["id"],
            model["family"],
            model["modality"],
            _sizes(model),
            f"{model['defaults']['num_inference_steps']} (at most {model['max_steps']})",
            f"{model['min_budget']:g}",
            ", ".join(model["methods"]),
        )
    Console().print(table)


def _sizes(model: dict[str, Any]) -> str:
    if model["sizes"] is None:
        return f"{model['lengths']['min_length']} to {model['lengths']['max_length']} tokens"
    sizes = model["sizes"]
    return f"{sizes['min_side']} to {sizes['max_side']} by {sizes['multiple']}"
