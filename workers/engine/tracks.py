"""One row's way through one evaluation, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from protocol.receipts import Action
from workers.core import Emit, Go, Hidden, Jump, Point, Ranks, Row, Sample, Stream, Verdict
from workers.engine.gather import place
from workers.sampling import guide


@dataclass(slots=True)
class Work:
    """What an evaluation ran. Blocks are counted a lane; `flop` is all lanes', discarded drafts included."""

    flop: int = 0
    blocks_run: int = 0
    head: bool = False
    whole: bool = False
    routed: bool = False
    risk: float | None = None
    threshold: float | None = None
    reason: str | None = None

    @property
    def action(self) -> Action:
        if self.whole:
            return Action.FULL
        if not self.blocks_run and not self.head:
            return Action.FORECAST
        return Action.ROUTED if self.routed else Action.PARTIAL

    def hear(self, verdict: Verdict) -> None:
        """Note what the decision was based on; the last one that says so stands."""
        if verdict.risk is not None:
            self.risk = verdict.risk
        if verdict.threshold is not None:
            self.threshold = verdict.threshold
        if verdict.reason is not None:
            self.reason = verdict.reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluation's end: its output (lanes, S, C) and what it took."""

    sample: Sample
    output: Tensor
    work: Work


def guided_output(outcome: Outcome, ranks: Ranks) -> Tensor:
    """The guided output (1, S, C), on every rank that has one of the sample's lanes."""
    sample, output = outcome.sample, outcome.output
    return guide(output if sample.lane_ranks == 1 else ranks.join(output), sample.guidance_scale)


@dataclass(slots=True)
class Track:
    """A row under way. Blocks [cut, go.until) are still to run; `output` ends it."""

    row: Row
    point: Point
    go: Go
    num_blocks: int
    mask: tuple[bool, ...] | None = None
    cut: int = 0
    ask: bool = False
    run: set[int] = field(default_factory=set)
    kept: dict[int, Hidden] = field(default_factory=dict)
    work: Work = field(default_factory=Work)
    output: Tensor | None = None

    def __post_init__(self) -> None:
        self.work.reason = self.point.purpose

    @property
    def sample(self) -> Sample:
        return self.row.sample

    @property
    def moving(self) -> bool:
        return self.output is None and self.cut < self.go.until

    @property
    def asking(self) -> bool:
        """Stands at a cut where its cache is to be asked."""
        stops = self.go.until < self.num_blocks or self.ask
        return self.output is None and self.cut == self.go.until and stops

    @property
    def outcome(self) -> Outcome:
        assert self.output is not None, "a row is settled when it has an output"
        return Outcome(self.sample, self.output, self.work)

    def runs(self, index: int) -> bool:
        """Whether the router lets this row through block `index`."""
        return self.mask is None or self.mask[index]

    def charge(self, flop: int) -> None:
        """Book FLOP of one lane for all of them."""
        self.work.flop += flop * self.sample.num_lanes

    def ran(self, index: int, flop: int) -> None:
        self.charge(flop)
        self.run.add(index)
        self.work.blocks_run += 1
        self.work.whole = len(self.run) == self.num_blocks

    def keep(self, stream: Stream) -> None:
        """Keep the hidden state if the verdict asked for it at this cut."""
        if self.output is None and self.cut in self.go.keep:
            self.kept[self.cut] = stream.take(self.row.lanes).hidden

    def follow(self, verdict: Verdict) -> None:
        """Take a verdict's route.

        Raises:
            ValueError: it leads back to some middle block, or to where it was just asked for.
        """
        self.work.hear(verdict)
        if isinstance(verdict, Emit):
            self.output = verdict.output
        elif isinstance(verdict, Jump):
            self.cut, self.go, self.ask = verdict.to, Go(verdict.to, self.num_blocks), verdict.ask
        else:
            self._check(verdict)
            self.cut, self.go, self.ask = verdict.start, verdict, False

    def _check(self, go: Go) -> None:
        if go.start not in (0, self.cut) or not go.start <= go.until <= self.num_blocks:
            raise ValueError(f"{go} at cut {self.cut}: a row goes on from where it is, or from 0")
        if self.asking and go.start == go.until == self.cut < self.num_blocks:
            raise ValueError(f"{go} at cut {self.cut} would be asked the same again")


@dataclass(slots=True)
class Company:
    """Tracks whose rows stand in one stream. `embedded` is the stream as it was before block 0."""

    tracks: list[Track]
    stream: Stream
    embedded: Stream

    def seat(self) -> None:
        """Number the tracks' rows by their places in the stream."""
        for track, row in zip(self.tracks, place([track.sample for track in self.tracks]), strict=True):
            track.row = row

    def staying(self) -> Company:
        """Those without an output, in a stream of their own."""
        stay = [track for track in self.tracks if track.output is None]
        lanes = lanes_of(stay)
        company = Company(stay, self.stream.take(lanes), self.embedded.take(lanes))
        company.seat()
        return company

    @staticmethod
    def join(parts: Sequence[Company]) -> Company:
        """All of them in one stream."""
        company = Company(
            [track for part in parts for track in part.tracks],
            Stream.cat([part.stream for part in parts]),
            Stream.cat([part.embedded for part in parts]),
        )
        company.seat()
        return company


def lanes_of(tracks: Sequence[Track]) -> list[int]:
    """The rows of the stream these tracks hold, in their order."""
    return [lane for track in tracks for lane in track.row.lanes]
