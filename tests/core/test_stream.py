"""The algebra of rows: who is in a stream changes through take, set, put and cat, and never in place."""

from __future__ import annotations

import torch

from workers.core import Stream


def make(rows: int, start: float = 0.0, signal: bool = False) -> Stream:
    """Row r holds start + r in hidden, 100 times that in fixed."""
    values = torch.arange(rows, dtype=torch.float32) + start
    tokens = values.view(rows, 1, 1).expand(rows, 2, 3).clone()
    return Stream(
        (tokens, tokens[:, :1] + 0.5),
        (100 * values.view(rows, 1),),
        (torch.ones(2),),
        tokens if signal else None,
    )


def row_values(stream: Stream) -> list[float]:
    return stream.hidden[0][:, 0, 0].tolist()


def test_take_selects_in_order_in_all_parts() -> None:
    taken = make(4, signal=True).take([2, 0])
    assert row_values(taken) == [2.0, 0.0]
    assert taken.hidden[1][:, 0, 0].tolist() == [2.5, 0.5]
    assert taken.fixed[0][:, 0].tolist() == [200.0, 0.0]
    assert taken.signal is not None
    assert taken.signal[:, 0, 0].tolist() == [2.0, 0.0]


def test_take_all_copies_nothing() -> None:
    stream = make(3)
    assert stream.take(range(3)) is stream
    assert stream.take([1, 0, 2]) is not stream


def test_set_replaces_only_the_named_rows_and_leaves_the_old_stream() -> None:
    stream = make(4)
    part = stream.take([1, 3])
    changed = stream.set([1, 3], tuple(2 * hidden for hidden in part.hidden))
    assert row_values(changed) == [0.0, 2.0, 2.0, 6.0]
    assert changed.hidden[1][:, 0, 0].tolist() == [0.5, 3.0, 2.5, 7.0]
    assert row_values(stream) == [0.0, 1.0, 2.0, 3.0]


def test_put_back_what_was_taken_changes_nothing() -> None:
    stream = make(5)
    again = stream.put([4, 1], stream.take([4, 1]))
    assert torch.equal(again.hidden[0], stream.hidden[0])


def test_cat_then_take_is_the_identity() -> None:
    first, second = make(2), make(3, start=10.0)
    joined = Stream.cat([first, second])
    assert row_values(joined) == [0.0, 1.0, 10.0, 11.0, 12.0]
    assert torch.equal(joined.take([2, 3, 4]).fixed[0], second.fixed[0])
    assert Stream.cat([first]) is first


def test_cat_drops_a_signal_not_all_have() -> None:
    assert Stream.cat([make(1, signal=True), make(1)]).signal is None
    assert Stream.cat([make(1, signal=True), make(1, signal=True)]).signal is not None
