"""From a plan's methods to a stack; what does not go together is refused when the stack is built."""

from __future__ import annotations

import pytest

from protocol.plan import Plan
from tests.engine.toys import Drop, Interval
from workers.acceleration import build_stack, registry
from workers.core import Stack


def make_plan(*methods: str) -> Plan:
    return Plan(methods=methods, num_inference_steps=1, solver="euler", granted_flop=1, full_flop=1)


@pytest.mark.parametrize("methods", [(), ("steps",)])
def test_fewer_steps_need_no_stack(methods: tuple[str, ...]) -> None:
    assert build_stack(make_plan(*methods)) == Stack()


def test_an_unknown_method_lists_the_known() -> None:
    with pytest.raises(LookupError, match=r"'softcup'.*steps"):
        build_stack(make_plan("softcup"))


def test_one_cache_and_one_router_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_CACHES", {"a": lambda _: Interval(2), "b": lambda _: Interval(3)})
    monkeypatch.setattr(registry, "_ROUTERS", {"r": lambda _: Drop(2, ())})
    assert build_stack(make_plan("a", "r", "steps")) == Stack(Interval(2), Drop(2, ()))
    with pytest.raises(ValueError, match=r"a \+ b"):
        build_stack(make_plan("a", "b"))
