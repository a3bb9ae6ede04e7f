"""Install Rheostat for one role into a virtual environment; the Dockerfile's RUN steps are these calls.

    python install.py dependencies {server|worker} VENV   pyproject.toml's, by constraints.txt
    python install.py strip VENV                          debug information out of extension modules
    python install.py package VENV                        Rheostat itself, nothing else

In steps, so that a change of the sources does not install torch again. The environment has no pip in the end.
RHEOSTAT_SOURCE names the sources' folder, if that is not the current one; RHEOSTAT_TORCH_INDEX the index that
torch alone is taken from, empty the default one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

EXTRAS = {"server": ("server", "s3", "trace"), "worker": ("workers", "s3", "trace")}
PROJECT = Path(os.environ.get("RHEOSTAT_SOURCE", Path.cwd()))


def requirements(role: str) -> list[str]:
    """What the role needs, by the project's own lists."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in EXTRAS[role] for line in extras.get(extra, ()))]


def pip(venv: Path, *words: str) -> None:
    """Run the installing Python's pip on the environment, everything pinned, builds included."""
    constraints = str(PROJECT / "constraints.txt")
    pins = {"PIP_CONSTRAINT": constraints, "PIP_BUILD_CONSTRAINT": constraints}
    quiet = ("--quiet", "--disable-pip-version-check", "--no-cache-dir")
    command = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", *quiet, *words]
    subprocess.run(command, check=True, env=os.environ | pins)


def install_dependencies(role: str, venv: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    wanted = requirements(role)
    index = os.environ.get("RHEOSTAT_TORCH_INDEX")
    torch = [line for line in wanted if re.match(r"torch\b", line)]
    if index and torch:
        pip(venv, "--index-url", index, *torch)
    pip(venv, *wanted)


def strip(venv: Path) -> None:
    """Drop a fifth of the gateway's bytes. Libraries in `*.libs` were patched for their wheels: not these."""
    modules = [path for path in venv.rglob("*.so") if not path.parent.name.endswith(".libs")]
    subprocess.run(["strip", "--strip-debug", *map(str, modules)], check=True)


def install_package(venv: Path) -> None:
    pip(venv, "--no-deps", str(PROJECT))


def main(words: list[str]) -> int:
    match words:
        case ["dependencies", ("server" | "worker") as role, venv]:
            install_dependencies(role, Path(venv))
        case ["strip", venv]:
            strip(Path(venv))
        case ["package", venv]:
            install_package(Path(venv))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
