"""Artifact URLs that work without a key for a while: an expiry and an HMAC over what they name.

The secret is shared by all gateways through Redis, so any of them honours what another one signed.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import urlencode

from protocol.errors import Unauthorized
from protocol.records import JobKey
from server.auth import ANONYMOUS


class Signer:
    """Signs and checks `(tenant, job, index, expiry)`."""

    def __init__(self, secret: bytes, ttl_s: int) -> None:
        self._secret = secret
        self._ttl_s = ttl_s

    def path(self, key: JobKey, index: int) -> str:
        """The path and query under which the `index`-th artifact of `key` can be had for `ttl_s` seconds.

        The tenant stands in the query unless it is the anonymous one: ids are a space of their own per key.
        """
        expires = int(time.time()) + self._ttl_s
        query = {"exp": str(expires), "sig": self._signature(key, index, expires)}
        if key.tenant != ANONYMOUS.tenant:
            query["tenant"] = key.tenant
        return f"/v1/artifacts/{key.id}/{index}?{urlencode(query)}"

    def check(self, key: JobKey, index: int, expires: str, signature: str) -> None:
        """Return if the signature is ours and still counts.

        Raises:
            Unauthorized: otherwise.
        """
        if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12):
            raise Unauthorized("the link is not one of ours", param="exp", code="bad_signature")
        if not hmac.compare_digest(
            self._signature(key, index, int(expires)).encode(), signature.encode(errors="replace")
        ):
            raise Unauthorized("the link is not one of ours", param="sig", code="bad_signature")
        if int(expires) < time.time():
            raise Unauthorized(
                "the link has expired; ask for the job again", param="exp", code="link_expired"
            )

    def _signature(self, key: JobKey, index: int, expires: int) -> str:
        message = f"{key.tenant}/{key.id}/{index}/{expires}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
