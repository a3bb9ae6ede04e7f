"""The numbers we hold our code to: short functions, files a reader holds in one sitting."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol", "server", "workers")
ALL_CODE = (*PACKAGES, "tests", "benchmarks")
MAX_FILE_LINES = 300
LONG_FILES_WITH_A_REASON: dict[str, str] = {}
"""Path -> the decision page that says why it is longer."""


def sources(folders: Sequence[str] = PACKAGES) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length of every function body, its docstring and signature not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                yield f"{path.relative_to(ROOT)}:{node.name}", (body[-1].end_lineno or 0) - body[0].lineno + 1


def lengths() -> dict[str, int]:
    return dict(pair for path in sources() for pair in functions(path))


def test_functions_are_short() -> None:
    found = sorted(lengths().values())
    assert statistics.median(found) <= 10
    assert found[int(0.9 * len(found))] <= 40


def test_no_function_is_over_eighty_lines() -> None:
    assert {name: lines for name, lines in lengths().items() if lines > 80} == {}


@pytest.mark.parametrize("path", sources(ALL_CODE), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name in LONG_FILES_WITH_A_REASON:
        assert (ROOT / LONG_FILES_WITH_A_REASON[name]).is_file()
        return
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


def test_nothing_is_named_utils() -> None:
    assert [path for path in sources(ALL_CODE) if path.stem in {"utils", "helpers", "misc"}] == []
