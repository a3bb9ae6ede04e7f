"""docs/results/gadd.json and .md: sections that different benchmarks write, on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SECTIONS = ("exact", "chain", "text", "music")


def update(section: str, report: dict[str, Any], markdown: str, folder: Path | None) -> None:
    """Put one section's figures on the page and leave all others; print them, JSON last.

    Args:
        section: one of `SECTIONS`.
        markdown: from its own second-level heading on.
        folder: None: nothing is written.
    """
    assert section in SECTIONS
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "gadd.json"
        page = json.loads(path.read_text()) if path.exists() else {"benchmark": "gadd"}
        page[section] = report | {"markdown": markdown}
        path.write_text(json.dumps(page, indent=1) + "\n")
        parts = [page[name]["markdown"] for name in SECTIONS if name in page]
        (folder / "gadd.md").write_text("\n".join(["# Discrete samplers\n", *parts]))
    print(markdown)
    print(json.dumps(report))
