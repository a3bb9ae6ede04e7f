"""Every Redis key and every lifetime.

P = `rh:{<partition>}:` starts every key of a tenant's jobs; the tag in braces keeps a partition in one slot
of a Redis Cluster. The partition is crc32(tenant) mod `partitions`. job = tenant/id; flow = *|priority for
now (fair share between tenants makes it tenant|priority; the keys stay).

    job:<job>            hash    the job (fields in `protocol.wire`)
    ev:<job>             stream  its events, from `started` on, ids <seq>-0; also the pub/sub channel's name
    shown:<job>          hash    sample -> its latest preview, while the job runs
    ready:<model>:<flow> zset    job -> due
    turn:<model>         zset    flows with ready jobs -> rank, lowest served first
    solo:<model>         zset    jobs that must run alone -> due
    later                zset    jobs in back-off -> not before
    waiting:<model>      zset    all of the three above -> created
    leases               zset    running jobs -> expiry
    held:<worker>        set     running jobs of a worker
    room:<worker>        string  bytes free when it last was idle: more it never has
    load:<model>         hash    jobs units running_jobs running_units
    bell:<model>         list    a hint that work is there, at most BELL_LIMIT entries
    claim:<token>        list    what a claim gave, so that it can be repeated
    idem:<tenant>:<route>:<sha256>  string  "id fingerprint"
    mine:<tenant>        zset    job -> created
    dead:<model>         zset    jobs that crashed too often -> when
    ended                zset    ended jobs -> when their hash expires

Under `rh:{cfg}:` stands what belongs to no tenant: `models` and `speeds` (hashes by model), `workers` (zset)
and `worker:<id>` (string with a lifetime), `secret`, `nonce`. `rh:w:<worker>` is a channel, not a key.
"""

from __future__ import annotations

from zlib import crc32

NAMES = frozenset(
    {"job", "ev", "shown", "ready", "turn", "solo", "later", "waiting", "leases", "held", "room", "load"}
    | {"bell", "claim", "idem", "mine", "dead", "ended"}
)
"""First words of the keys under P. The scripts use no other (a test reads them)."""

CONFIG = "rh:{cfg}:"
MODELS = f"{CONFIG}models"
SPEEDS = f"{CONFIG}speeds"
WORKERS = f"{CONFIG}workers"
SECRET = f"{CONFIG}secret"
NONCE = f"{CONFIG}nonce"

DAY_S = 86_400
ENDED_JOB_TTL_S = DAY_S
"""An ended job's hash, its place in its tenant's list, and its idempotency key (which never goes earlier)."""
MIN_IDEMPOTENCY_TTL_S = DAY_S
EVENTS_TTL_S = 900
"""A job's stream, counted from its end."""
CLAIM_TTL_S = 30
LEASE_TTL_MS = 10_000
PRESENCE_TTL_S = 15
ROOM_TTL_S = DAY_S
BELL_LIMIT = 64


def partition_of(tenant: str, partitions: int) -> int:
    """The partition that holds everything of `tenant`."""
    return crc32(tenant.encode()) % partitions


def prefix(partition: int) -> str:
    """P of a partition."""
    return f"rh:{{{partition}}}:"


def key(base: str, name: str, *parts: str) -> str:
    """A key under P = `base`; `name` is one of NAMES."""
    assert name in NAMES, name
    return base + ":".join((name, *parts))


def flow(priority: int) -> str:
    """The flow a job of this priority queues in."""
    return f"*|{priority}"


def presence(worker: str) -> str:
    return f"{CONFIG}worker:{worker}"


def worker_channel(worker: str) -> str:
    """Where a worker hears that one of its jobs is to be cancelled."""
    return f"rh:w:{worker}"
