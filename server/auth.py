"""Who calls: an API key by its hash, or anybody where no keys are set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from protocol.errors import Forbidden, Unauthorized
from server.settings import ApiKey


@dataclass(frozen=True)
class Caller:
    """A known caller. `tenant` owns the jobs; `models` None means all; `audit`: they may be run again."""

    tenant: str
    models: frozenset[str] | None = None
    audit: bool = True

    def require_model(self, model: str) -> None:
        """Raises Forbidden if this caller may not use `model`."""
        if self.models is not None and model not in self.models:
            raise Forbidden(
                "this key may not use this model",
                param="model",
                code="model_not_allowed",
                details={"allowed": [*sorted(self.models)]},
            )


ANONYMOUS = Caller(tenant="public")


class Doorkeeper:
    """Knows the keys by their hashes, so looking one up tells nothing about the others by its timing."""

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        self._callers = {
            key.sha256: Caller(name, None if key.models is None else frozenset(key.models), key.audit)
            for name, key in keys.items()
        }

    def identify(self, request: Request) -> Caller:
        """The caller behind `Authorization: Bearer`.

        Raises:
            Unauthorized: keys are set and this is none of them.
        """
        if not self._callers:
            return ANONYMOUS
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("send Authorization: Bearer with your key", code="key_missing")
        digest = hashlib.sha256(key.strip().encode(errors="replace")).hexdigest()
        caller = self._callers.get(digest)
        if caller is None:
            raise Unauthorized("this key is not known", code="key_unknown")
        return caller
