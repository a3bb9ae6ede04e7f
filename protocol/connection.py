"""Connections to Redis or Valkey from a URL, with time-outs, and what it means when the server is away.

    redis://user:password@host:6379/0      rediss://... (TLS)      unix:///path/to/socket
    redis+sentinel://user:password@host1:26379,host2/master/0      rediss+sentinel://...
    redis+cluster://user:password@host1:6379,host2                 rediss+cluster://...

The last two forms are ours (redis-py has none). Options go into the query: `?ssl_ca_certs=/ca.pem`,
`ssl_cert_reqs=none`, and for Sentinel `sentinel_username=`, `sentinel_password=`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field
from redis import exceptions as driver
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff, NoBackoff

from protocol.errors import Unavailable

Client: TypeAlias = Redis | RedisCluster

_AWAY = (
    driver.ConnectionError,
    driver.TimeoutError,
    driver.ReadOnlyError,
    driver.OutOfMemoryError,
    driver.ClusterDownError,
    driver.RedisClusterException,
)
_AWAY_WORDS = ("LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN")
_TLS_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})


class ConnectionSettings(BaseModel):
    """Time-outs and retries of one client.

    Attributes:
        connect_timeout_s, timeout_s: to connect; to wait for a reply.
        retries: how often a call is sent again when the connection breaks. Every script bears that.
        backoff_s, max_backoff_s: pause before the first repeat, doubling up to the second.
        max_connections: of the pool; further calls wait up to `timeout_s` for a free one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    timeout_s: Annotated[float, Field(gt=0)] = 5.0
    retries: Annotated[int, Field(ge=0)] = 3
    backoff_s: Annotated[float, Field(gt=0)] = 0.05
    max_backoff_s: Annotated[float, Field(gt=0)] = 0.5
    max_connections: Annotated[int, Field(ge=2)] = 64


class BadRedisUrl(ValueError):
    """The URL is not one of the forms above; the message names what is wrong, never the password."""


@dataclass(frozen=True)
class Address:
    """One of our own URL forms, taken apart."""

    hosts: tuple[tuple[str, int], ...]
    path: tuple[str, ...]
    username: str | None
    password: str | None
    tls: bool
    options: dict[str, str]


def connect(url: str, settings: ConnectionSettings | None = None, *, patient: bool = False) -> Client:
    """A client for `url`; connects when first used.

    Args:
        url: one of the forms above.
        settings: time-outs and retries.
        patient: no time limit on replies and no repeats, for blocking pops and subscriptions.

    Raises:
        BadRedisUrl: scheme, host, master or option not understood.
    """
    settings = settings or ConnectionSettings()
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    if scheme not in ("redis", "rediss", "unix") or kind not in ("", "sentinel", "cluster"):
        raise BadRedisUrl(
            "the Redis URL must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
        )
    options = _options(settings, patient)
    if kind == "sentinel":
        return _sentinel(parse_address(url, 26379), options)
    if kind == "cluster":
        return _cluster(parse_address(url, 6379), options, settings)
    try:
        pool = BlockingConnectionPool.from_url(
            url, max_connections=settings.max_connections, timeout=settings.timeout_s, **options
        )
    except ValueError as error:
        raise BadRedisUrl(str(error)) from None
    return Redis.from_pool(pool)


async def close(client: Client) -> None:
    """Close a client made by `connect`, and what it asked for its master."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def parse_address(url: str, default_port: int) -> Address:
    """Take a sentinel or cluster URL apart.

    Raises:
        BadRedisUrl: no host, a port that is no number, an unknown option.
    """
    parts = urlsplit(url)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    options = dict(parse_qsl(parts.query))
    for name in options:
        if name not in _TLS_OPTIONS | _SENTINEL_OPTIONS:
            allowed = ", ".join(sorted(_TLS_OPTIONS | _SENTINEL_OPTIONS))
            raise BadRedisUrl(f"unknown option {name} in the Redis URL; allowed are {allowed}")
    return Address(
        hosts=tuple(_host(host, default_port) for host in hosts.split(",")),
        path=tuple(unquote(part) for part in parts.path.split("/") if part),
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=parts.scheme.startswith("rediss"),
        options=options,
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    if not host or not port.isdecimal():
        raise BadRedisUrl(f"{text!r} is not a host or host:port")
    return host.strip("[]"), int(port)


def _options(settings: ConnectionSettings, patient: bool) -> dict[str, Any]:
    backoff = ExponentialBackoff(cap=settings.max_backoff_s, base=settings.backoff_s)
    return {
        "socket_connect_timeout": settings.connect_timeout_s,
        "socket_timeout": None if patient else settings.timeout_s,
        "socket_keepalive": True,
        "retry": Retry(backoff, 0 if patient else settings.retries),
        # Pub/sub has a connection of its own, so nothing of RESP3 is needed.
        "protocol": 2,
    }


def _tls(address: Address) -> dict[str, Any]:
    if not address.tls:
        return {}
    given: dict[str, Any] = {name: value for name, value in address.options.items() if name in _TLS_OPTIONS}
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = given["ssl_check_hostname"].lower() in ("1", "true", "yes")
    return {"ssl": True, **given}


def _sentinel(address: Address, options: dict[str, Any]) -> Redis:
    if not 1 <= len(address.path) <= 2:
        raise BadRedisUrl("a sentinel URL names the master: redis+sentinel://host1,host2/master")
    if len(address.path) == 2 and not address.path[1].isdecimal():
        raise BadRedisUrl(f"{address.path[1]!r} is not a database number")
    tls = _tls(address)
    watcher = {
        "username": address.options.get("sentinel_username"),
        "password": address.options.get("sentinel_password"),
        "socket_connect_timeout": options["socket_connect_timeout"],
        "socket_timeout": options["socket_connect_timeout"],
        "protocol": options["protocol"],
        # One that is down is not waited for: there are others.
        "retry": Retry(NoBackoff(), 0),
        **tls,
    }
    sentinel = Sentinel(list(address.hosts), sentinel_kwargs=watcher)  # type: ignore[no-untyped-call]
    master = sentinel.master_for(
        address.path[0],
        username=address.username,
        password=address.password,
        db=int(address.path[1]) if len(address.path) == 2 else 0,
        **options,
        **tls,
    )
    assert isinstance(master, Redis)
    return master


def _cluster(address: Address, options: dict[str, Any], settings: ConnectionSettings) -> RedisCluster:
    if address.path and address.path != ("0",):
        raise BadRedisUrl("a cluster has only database 0")
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        username=address.username,
        password=address.password,
        max_connections=settings.max_connections,
        **options,
        **_tls(address),
    )


@contextmanager
def translated(retry_after_s: int) -> Iterator[None]:
    """Turn every way a server can be away, full or without a leader into `Unavailable`.

    Errors of our own making (a wrong type, a bug in a script) pass unchanged. So does a cancellation: Python
    3.11's `wait_for`, in which the driver sends, drops one that comes as the sending is done (gh-86296).
    """
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    try:
        yield
        if task and task.cancelling() > cancels:
            raise asyncio.CancelledError
    except _AWAY as error:
        raise _unavailable(error, retry_after_s) from error
    except driver.ResponseError as error:
        if str(error).startswith(_AWAY_WORDS):
            raise _unavailable(error, retry_after_s) from error
        raise


def _unavailable(error: Exception, retry_after_s: int) -> Unavailable:
    # The driver's text may hold addresses; it stays in the cause.
    full = isinstance(error, driver.OutOfMemoryError) or str(error).startswith("OOM")
    message = "the job store is out of memory" if full else "the job store cannot be reached"
    return Unavailable(message, retry_after_s=retry_after_s)
