"""What the caches of residuals share: the stretch of blocks a residual stands for, and measures of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from pydantic import TypeAdapter
from torch import Tensor

from protocol.calibration import Calibration
from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.core import Emit, Go, Hidden, Jump, Kept, Ranks, Row, Sample, Stream

_TINY, _HUGE = 1e-12, 1e30

Config = TypeVar("Config", bound=MethodConfig)


class ResidualCache(AnchoredCache[Config]):
    """Base of the caches that keep what a stretch of blocks adds to the hidden state.

    A cheap evaluation runs the blocks before the stretch, adds the residual of the last full evaluation, and
    runs the blocks after it. An anchor keeps the residual at the cut where the stretch ends.
    """

    num_anchors = 1

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self._open(row.sample) for row in rows]

    def stretch(self, sample: Sample) -> tuple[int, int]:
        """Cuts between which a residual stands for the blocks: the whole network, by default."""
        return 0, self._layout.num_blocks

    def residual(self, sample: Sample) -> Hidden:
        """What the stretch is expected to add at the sample's present point: what it added last."""
        return sample.anchors[-1].kept[self.stretch(sample)[1]]

    def run_on(
        self,
        sample: Sample,
        hidden: Hidden,
        reason: str | None,
        *,
        risk: float | None = None,
        threshold: float | None = None,
    ) -> Go | Jump:
        """Before the stretch: the rest of a full evaluation if the plan can pay it, else the residual."""
        if sample.anchors and not self.affords(sample, self.full_flop(sample)):
            return self.reuse(sample, hidden, "guard_denied", risk=risk, threshold=threshold)
        keep = self.stretch(sample)
        return Go(keep[0], self._layout.num_blocks, keep, risk=risk, threshold=threshold, reason=reason)

    def reuse(
        self,
        sample: Sample,
        hidden: Hidden,
        reason: str | None,
        *,
        risk: float | None = None,
        threshold: float | None = None,
    ) -> Jump:
        """Before the stretch: across it, `hidden` being the row's (one entry a lane)."""
        ahead = tuple(now + more for now, more in zip(hidden, self.residual(sample), strict=True))
        return Jump(self.stretch(sample)[1], ahead, risk=risk, threshold=threshold, reason=reason)

    def anchors_here(self, sample: Sample, cuts: Kept | None) -> bool:
        return cuts is not None and set(self.stretch(sample)) <= set(cuts)

    def anchor(self, sample: Sample, output: Tensor, cuts: Kept) -> None:
        start, end = self.stretch(sample)
        added = tuple(after - before for after, before in zip(cuts[end], cuts[start], strict=True))
        super().anchor(sample, output, {end: added})

    def skip_flop(self, sample: Sample) -> int:
        cost, (start, end) = self._layout.cost(sample.grid), self.stretch(sample)
        return sample.num_lanes * (cost.embed + sum(cost.blocks[:start] + cost.blocks[end:]) + cost.head)

    def _open(self, sample: Sample) -> Go | Emit:
        """To the embedding; a plan that cannot even pay a cheap evaluation gets the last output again."""
        if sample.anchors and sample.ledger.spent_flop + self.skip_flop(sample) > sample.plan.cap_flop:
            return self.forecast(sample, "guard_denied")
        return Go(0, 0)


def lanes(row: Row, stream: Stream) -> Hidden:
    """The row's own hidden state, one entry a lane; a view."""
    return tuple(tensor[row.lanes.start : row.lanes.stop] for tensor in stream.hidden)


def relative_l1(now: Tensor, before: Tensor) -> Tensor:
    """The sums |now - before| and |before| of one row's tokens here, in float32; see `ratios`.

    Rows are reduced one at a time: a reduction over several may add up in another order.
    """
    before = before.to(torch.float32)
    return torch.stack([(now.to(torch.float32) - before).abs().sum(), before.abs().sum()])


def ratios(sums: Sequence[Tensor], ranks: Ranks) -> list[float]:
    """Each row's sums (2,) added up over all ranks' tokens, the first divided by the second; see `read`."""
    if not sums:
        return []
    totals = ranks.total(torch.stack(list(sums)))
    return read(totals[:, 0] / totals[:, 1].clamp_min(_TINY))


def read(statistics: Tensor) -> list[float]:
    """Numbers brought to the host in one transfer; what is not finite comes as one above any limit."""
    numbers: list[float] = torch.nan_to_num(statistics, nan=_HUGE, posinf=_HUGE).tolist()
    return numbers


def table(
    calibration: Calibration | None, method: str, name: str, default: tuple[float, ...]
) -> tuple[float, ...]:
    """A list of numbers that a method left in the calibration, or the default.

    Raises:
        pydantic.ValidationError: it is something else.
    """
    if calibration is None or method not in calibration.tables:
        return default
    return TypeAdapter(tuple[float, ...]).validate_python(calibration.tables[method][name])
