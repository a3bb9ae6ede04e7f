"""Read the Dockerfile, so that its own steps can be run and checked where no engine is."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

DOCKERFILE = Path(__file__).resolve().parent / "docker" / "Dockerfile"
_NEXT_LINE = re.compile(r"\\\n\s*")


@dataclass
class Stage:
    """One `FROM`, with what the stages it stands on said before."""

    name: str
    base: str
    runs: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    copies_from: list[str] = field(default_factory=list)
    user: str = "root"
    volumes: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)


def stages(text: str | None = None) -> dict[str, Stage]:
    """The stages by name; `text` None: of our own Dockerfile. Build arguments stand as their defaults."""
    text = DOCKERFILE.read_text() if text is None else text
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    current: Stage | None = None
    for line in _NEXT_LINE.sub(" ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = Stage(name, _filled(base, arguments))
            if parent := found.get(base):
                current.env, current.runs = {**parent.env}, [*parent.runs]
            found[name] = current
        elif word == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default
        elif word and current is not None:
            _take(current, word, rest, arguments)
    return found


def _take(stage: Stage, word: str, rest: str, arguments: dict[str, str]) -> None:
    match word:
        case "RUN":
            stage.runs.append(rest)
        case "ENV":
            pairs = (pair.partition("=") for pair in shlex.split(rest))
            stage.env |= {name: _filled(value, arguments) for name, _, value in pairs}
        case "COPY" if rest.startswith("--from="):
            stage.copies_from.append(rest.split(maxsplit=1)[0].removeprefix("--from="))
        case "USER":
            stage.user = rest
        case "VOLUME":
            stage.volumes = json.loads(rest)
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case "HEALTHCHECK":
            stage.healthcheck = json.loads(rest.partition("CMD ")[2])


def _filled(text: str, arguments: dict[str, str]) -> str:
    for name, value in arguments.items():
        text = text.replace(f"${{{name}}}", value)
    return text
