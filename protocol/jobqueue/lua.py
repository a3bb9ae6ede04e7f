"""The scripts: read from the package, given their constants, run by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from protocol import keys, wire
from protocol.events import encode_event
from protocol.jobqueue.settings import QueueSettings
from protocol.states import JobStatus

NAMES = (
    *("submit", "claim", "renew", "publish", "save", "release", "commit"),
    *("cancel", "regrant", "abandon", "reap", "forget", "position", "load"),
)


@dataclass(frozen=True)
class Script:
    """A Lua script and its SHA-1, by which the server knows it once it has seen it."""

    name: str
    source: str
    sha: str


def load_scripts(settings: QueueSettings) -> Mapping[str, Script]:
    """All scripts, each with the settings' constants and the prelude before its own text."""
    shared = _constants(settings) + _read("_prelude")
    return {name: _assemble(name, shared) for name in NAMES}


def _assemble(name: str, shared: str) -> Script:
    shebang, _, body = _read(name).partition("\n")
    source = f"{shebang}\n{shared}{body}"
    # The server names scripts by SHA-1; nothing rests on its strength.
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _read(name: str) -> str:
    return files("protocol.jobqueue").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")


def _constants(settings: QueueSettings) -> str:
    ended_ttl_ms = settings.ended_ttl_s * 1000
    exhausted = wire.exhausted(settings.max_solo_crashes)
    numbers = {
        "MAX_QUEUED_JOBS": settings.max_queued_jobs,
        "DEFAULT_DUE_MS": settings.default_due_ms,
        "LEASE_TTL_MS": settings.lease_ttl_ms,
        "MAX_SOLO_CRASHES": settings.max_solo_crashes,
        "BACKOFF_MS": settings.backoff_ms,
        "MAX_BACKOFF_MS": settings.max_backoff_ms,
        "MAX_PASSES": settings.max_passes,
        "ENDED_TTL_MS": ended_ttl_ms,
        "IDEM_TTL_MS": max(ended_ttl_ms, settings.idempotency_ttl_s * 1000),
        "EVENTS_TTL_MS": settings.events_ttl_s * 1000,
        "PREVIEWS_BYTES": settings.previews_bytes,
        "CLAIM_TTL_MS": keys.CLAIM_TTL_S * 1000,
        "ROOM_TTL_MS": keys.ROOM_TTL_S * 1000,
        "BELL_LIMIT": keys.BELL_LIMIT,
    }
    texts = {
        "EXHAUSTED_EVENT": encode_event(wire.final_event(JobStatus.FAILED, exhausted)).decode(),
        "EXHAUSTED_RESULT": wire.encode_result(exhausted).decode(),
    }
    lines = [f"local {name} = {value}" for name, value in numbers.items()]
    lines += [f"local {name} = [==[{text}]==]" for name, text in texts.items()]
    return "\n".join(lines) + "\n"
