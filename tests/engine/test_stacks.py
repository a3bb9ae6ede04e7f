"""From a plan's methods to a stack; what does not go together is refused when the stack is built."""

from __future__ import annotations

import pytest

from protocol.plan import Plan
from tests.engine.toys import Doubling, Drop, Interval
from workers.acceleration import Methods, registry
from workers.core import Stack

METHODS = Methods(Doubling().layout)


def make_plan(*methods: str) -> Plan:
    return Plan(methods=methods, num_inference_steps=1, solver="euler", granted_flop=1, full_flop=1)


@pytest.mark.parametrize("methods", [(), ("steps",)])
def test_fewer_steps_need_no_stack(methods: tuple[str, ...]) -> None:
    assert METHODS.stack(make_plan(*methods)) == Stack()


def test_an_unknown_method_lists_the_known() -> None:
    with pytest.raises(LookupError, match=r"'softcup'.*steps"):
        METHODS.stack(make_plan("softcup"))


def test_one_cache_and_one_router_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CACHES", {"a": lambda *_: Interval(2), "b": lambda *_: Interval(3)})
    monkeypatch.setattr(registry, "ROUTERS", {"r": lambda *_: Drop(2, ())})
    assert METHODS.stack(make_plan("a", "r", "steps")) == Stack(Interval(2), Drop(2, ()))
    with pytest.raises(ValueError, match=r"a \+ b"):
        METHODS.stack(make_plan("a", "b"))
