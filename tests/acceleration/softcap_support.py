"""The toy under SoftCap, with risks that can be worked by hand, and a cache asked everything twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.acceleration.support import Curve, Line, moved
from workers.acceleration.softcap_paper import SoftCapPaper
from workers.core import Batch, Emit, Go, Row, Stream, Verdict

PAPER = "softcap-paper"
STEPS = 20
MOVED: dict[str, float] = {"monitor": 0, "w_mag": 1, "w_dir": 0, "w_anc": 0, "w_vol": 0, "c_mag": 1}
"""The risk is how far the embedded tokens moved: the toy's curve is the risk trace."""
SKIPPED: dict[str, float] = {"w_mag": 0, "w_dir": 0, "w_anc": 1, "w_vol": 0, "c_anc": 1}
"""The risk is the steps since the anchor, as a share of the longest skip."""
ALWAYS = {**SKIPPED, "c_anc": 1e-6}
"""The risk is 1 at every step."""


def still(_place: float) -> float:
    return 0.0


def jumps(*places: float, by: float = 2.0) -> Any:
    """Tokens, 2 at first, that are multiplied at each place: a risk of 1 - 1 / `by` there, 0 after a full."""
    return lambda place: 2.0 * by ** sum(place >= jump for jump in places) - 2.0


def toy(parameters: dict[str, float], curve: Any = still, **given: Any) -> list[Line]:
    return moved(Curve(curve, STEPS), PAPER, parameters, **given)


class Twisted(Curve):
    """Every second lane's tokens stand at 1,000."""

    def embed(self, batch: Batch, signal: bool = False) -> Stream:
        stream = super().embed(batch, signal)
        tokens = stream.hidden[0].clone()
        tokens[1::2] = 1000.0 * (1 + stream.fixed[0][1::2])
        return Stream((tokens,), stream.fixed, (), None)


class AskedTwice(SoftCapPaper):
    """Every question comes twice; nothing may have changed, and the answers are the same."""

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return _twice(lambda: super(AskedTwice, self).begin(rows), rows)

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        return _twice(lambda: super(AskedTwice, self).at(rows, cut, stream), rows)


def _twice(ask: Any, rows: Sequence[Row]) -> Any:
    before = [(dict(row.sample.control), list(row.sample.anchors)) for row in rows]
    first, second = ask(), ask()
    assert [(row.sample.control, row.sample.anchors) for row in rows] == before
    assert [told_by(verdict) for verdict in first] == [told_by(verdict) for verdict in second]
    return second


def told_by(verdict: Verdict) -> tuple[Any, ...]:
    return type(verdict), verdict.reason, verdict.risk, verdict.threshold


def told(result: Any) -> list[tuple[Any, ...]]:
    """What the first sample's receipt says, but for the seconds."""
    return [
        (line.action, line.reason, line.risk, line.threshold, line.tflops)
        for line in result.samples[0].receipt.steps
    ]
