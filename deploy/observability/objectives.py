"""What is promised, and the windows a broken promise is looked for in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True)
class Objectives:
    """Everything an installation may want otherwise; `python -m deploy.observability --help` sets it.

    Attributes:
        images_s, videos_s: a request is late if it takes longer. Each must be a bucket's bound of
            `rheostat_request_seconds`, else nothing would ever be in time.
        video_models: a regular expression of the models `videos_s` holds for; `images_s` holds for the rest.
        target: share of requests that must be in time. Higher pages sooner.
        least_requests: in the longer window of a burn alert; fewer say nothing about a share.
        queue_deadline_s: when a waiting job is overdue; the queue's `default_due_ms`.
        over_budget: mean of spent over granted that is still kept. Soft budgets may go above 1 now and then.
        drift: how many times its mean of the week an audit distance may have today.
        least_audits: in an hour, to judge a mean by.
        pace: all windows and waiting times are divided by it. 1 in production; benchmarks and drills that
            cannot wait for hours take more, as long as the shortest window still holds two scrapes.
        runbook: address of docs/runbook.md as your people read it.
    """

    images_s: float = 30.0
    videos_s: float = 600.0
    video_models: str = "(?i).*(wan|video).*"
    target: float = 0.99
    least_requests: int = 10
    queue_deadline_s: float = 60.0
    over_budget: float = 1.05
    drift: float = 1.5
    least_audits: int = 10
    pace: float = 1.0
    runbook: str = "https://rheostat.example.org/docs/runbook.md"

    def duration(self, seconds: float) -> str:
        """So many seconds at this pace, as Prometheus writes it."""
        return duration(seconds / self.pace)

    def entry(self, anchor: str) -> str:
        """Address of an entry of the runbook."""
        return f"{self.runbook}#{anchor.lower()}"


class Burn(NamedTuple):
    """A pair of windows: the error budget of 30 days burns `factor` times too fast in both.

    Source: Beyer et al., The Site Reliability Workbook, chapter 5, table 5-8.
    """

    factor: float
    long_s: int
    short_s: int
    wait_s: int


PAGE = (Burn(14.4, HOUR, 5 * MINUTE, 2 * MINUTE), Burn(6.0, 6 * HOUR, 30 * MINUTE, 15 * MINUTE))
TICKET = (Burn(3.0, DAY, 2 * HOUR, HOUR), Burn(1.0, 3 * DAY, 6 * HOUR, 3 * HOUR))
BURN_WINDOWS = tuple(sorted({window for burn in PAGE + TICKET for window in (burn.long_s, burn.short_s)}))


def duration(seconds: float) -> str:
    """The shortest of Prometheus' forms that is exact to a millisecond: `3d`, `90s`, `2500ms`."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(1, round(seconds * 1000))}ms"
