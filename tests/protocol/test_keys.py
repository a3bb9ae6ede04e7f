from __future__ import annotations

from zlib import crc32

from protocol import keys


def test_a_tenant_has_one_partition_and_all_are_used() -> None:
    assert keys.partition_of("anna", 1) == 0
    assert keys.partition_of("anna", 7) == crc32(b"anna") % 7
    assert {keys.partition_of(f"tenant{index}", 7) for index in range(100)} == set(range(7))


def test_keys_begin_with_the_tag() -> None:
    assert keys.key(keys.prefix(3), "ready", "flux-tiny", keys.flow(-2)) == "rh:{3}:ready:flux-tiny:*|-2"
    assert keys.key(keys.prefix(0), "leases") == "rh:{0}:leases"
    assert keys.presence("w1") == "rh:{cfg}:worker:w1"


def test_every_key_is_described() -> None:
    """The module's table names each key of NAMES and no other."""
    table = [line.split()[0] for line in (keys.__doc__ or "").splitlines() if line.startswith("    ")]
    assert {name.partition(":")[0] for name in table} == keys.NAMES


def test_an_idempotency_key_never_goes_before_its_day() -> None:
    assert keys.MIN_IDEMPOTENCY_TTL_S >= 24 * 3600
    assert keys.EVENTS_TTL_S == 15 * 60
