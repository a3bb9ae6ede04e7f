"""One turn's forward: rows that differ in step, budget, guidance and method share what they can.

A turn in order: caches are asked, rows they answer for at once move on and are asked again;
the others are embedded, meet at the lowest block any of them needs next, leave where a cache or a mask says
so, and come together again at the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from workers.core import Cache, Emit, Go, Jump, Network, Point, Ranks, Row, Sample, Verdict, head_flow
from workers.engine.gather import gather, place
from workers.engine.tracks import Company, Outcome, Track, lanes_of

Settle = Callable[[Outcome], Point | None]
Wanted = Sequence[tuple[Sample, Point]]


class Forward:
    """Runs one evaluation of each sample given, and before it any evaluations a cache can answer for.

    Args:
        network: whose blocks run.
        settle: told of each finished evaluation before the sample's next one begins; says where the sample
            wants its next, or None.
        max_forecasts: forecasts of one sample in one turn.
    """

    def __init__(self, network: Network, settle: Settle, max_forecasts: int) -> None:
        self._network = network
        self._settle = settle
        self._max_forecasts = max_forecasts
        self._num_blocks = network.layout.num_blocks
        self._as_flow = head_flow(network.layout)

    def run(self, wanted: Wanted) -> None:
        """Move every sample. What raises leaves the unsettled samples as they were."""
        for _ in self.blocks(wanted):
            pass

    def blocks(self, wanted: Wanted) -> Iterator[None]:
        """As `run`, but comes back between two blocks: other work may be done before it goes on."""
        company = self._gather(wanted)
        if company is None:
            return
        self._ask(company)
        while moving := [track for track in company.tracks if track.moving]:
            self._block(min(track.cut for track in moving), moving, company)
            self._ask(company)
            if any(track.moving for track in company.tracks):
                yield
        self._head(company)
        self._finish(company.tracks)

    def _gather(self, wanted: Wanted) -> Company | None:
        """Move samples through their forecasts; those that need blocks come back embedded, in one stream."""
        parts: list[Company] = []
        for _ in range(self._max_forecasts):
            done, going = self._begin(wanted)
            if going:
                company = self._embed(going)
                self._ask(company)
                done += [track for track in going if track.output is not None]
                if len(done) < len(wanted):
                    parts.append(company.staying())
            wanted = self._finish(done)
            if not wanted:
                break
        return Company.join(parts) if parts else None

    def _begin(self, wanted: Wanted) -> tuple[list[Track], list[Track]]:
        """Ask before anything runs: tracks that are answered for, and tracks that go."""
        rows = place([sample for sample, _ in wanted])
        start = Go(0, self._num_blocks)
        tracks = [
            Track(row, point, start, self._num_blocks) for row, (_, point) in zip(rows, wanted, strict=True)
        ]
        for track, verdict in zip(
            tracks, _asked(rows, lambda cache, group: cache.begin(group), start), strict=True
        ):
            track.follow(verdict)
        going = [track for track in tracks if track.output is None]
        _route(going, self._network.layout.ranks)
        return [track for track in tracks if track.output is not None], going

    def _embed(self, tracks: list[Track]) -> Company:
        caches = [track.sample.stack.cache for track in tracks]
        batch = gather([track.sample for track in tracks], [track.point for track in tracks])
        wants_signal = any(cache is not None and cache.wants_signal for cache in caches)
        stream = self._network.embed(batch, signal=wants_signal)
        company = Company(tracks, stream, stream)
        company.seat()
        for track in tracks:
            track.charge(self._network.layout.cost(track.sample.grid).embed)
            track.keep(stream)
        return company

    def _ask(self, company: Company) -> None:
        """Ask caches at the cuts their rows have come to, until every row moves on or is done."""
        while asking := [track for track in company.tracks if track.asking]:
            cut = min(track.cut for track in asking)
            here = [track for track in asking if track.cut == cut]
            for track, verdict in zip(here, self._ask_at(cut, here, company), strict=True):
                _redirect(track, verdict, company)

    def _ask_at(self, cut: int, tracks: Sequence[Track], company: Company) -> list[Verdict]:
        def ask(cache: Cache, rows: Sequence[Row]) -> Sequence[Verdict]:
            part = company.stream.take([lane for row in rows for lane in row.lanes])
            return cache.at(place([row.sample for row in rows]), cut, part)

        return _asked([track.row for track in tracks], ask, Go(cut, self._num_blocks))

    def _block(self, index: int, moving: Sequence[Track], company: Company) -> None:
        """Run block `index` for the rows that are there and routed to it; all that are there pass it."""
        here = [track for track in moving if track.cut == index]
        running = [track for track in here if track.runs(index)]
        if running:
            lanes = lanes_of(running)
            company.stream = company.stream.set(lanes, self._network.block(index, company.stream.take(lanes)))
        for track in running:
            track.ran(index, self._network.layout.cost(track.sample.grid).blocks[index])
        for track in here:
            track.work.routed |= not track.runs(index)
            track.cut += 1
            track.keep(company.stream)

    def _head(self, company: Company) -> None:
        tracks = [track for track in company.tracks if track.output is None]
        if not tracks:
            return
        outputs = self._network.head(company.stream.take(lanes_of(tracks)))
        for track, row in zip(tracks, place([track.sample for track in tracks]), strict=True):
            track.output = self._as_flow(_lanes(outputs, row), track.point.latents, track.point.sigma)
            track.work.head = True
            track.charge(self._network.layout.cost(row.sample.grid).head)

    def _finish(self, tracks: Sequence[Track]) -> Wanted:
        """Let caches take what they keep, then settle; return what the samples want next."""
        for cache, places in _by_cache([track.row for track in tracks]):
            group = [tracks[place] for place in places]
            kept = [track.kept if track.work.head else None for track in group]
            told = cache.end([track.row for track in group], [track.outcome.output for track in group], kept)
            for track, output in zip(group, told, strict=True):
                track.output = output
        points = [(track.sample, self._settle(track.outcome)) for track in tracks]
        return [(sample, point) for sample, point in points if point is not None]


def _redirect(track: Track, verdict: Verdict, company: Company) -> None:
    """Send a row where its cache says, with the hidden state it shall have there."""
    before, lanes = track.cut, list(track.row.lanes)
    track.follow(verdict)
    if isinstance(verdict, Jump):
        company.stream = company.stream.set(lanes, verdict.hidden)
    elif not isinstance(verdict, Emit) and verdict.start != before:
        company.stream = company.stream.put(lanes, company.embedded.take(lanes))
    track.keep(company.stream)


def _route(tracks: Sequence[Track], ranks: Ranks) -> None:
    """Ask each router for its rows' masks; rank 0's are everybody's."""
    routed = [track for track in tracks if track.sample.stack.router is not None]
    for router in {id(track.sample.stack.router): track.sample.stack.router for track in routed}.values():
        assert router is not None
        group = [track for track in routed if track.sample.stack.router is router]
        masks = torch.tensor(router.mask([track.row for track in group], [track.point for track in group]))
        for track, mask in zip(group, ranks.told(masks.to(torch.uint8)).bool().tolist(), strict=True):
            track.mask = track.sample.mask = tuple(mask)


def _asked(
    rows: Sequence[Row], ask: Callable[[Cache, Sequence[Row]], Sequence[Verdict]], default: Verdict
) -> list[Verdict]:
    """One verdict a row: each cache is asked once for all its rows, rows without one get the default."""
    verdicts = [default] * len(rows)
    for cache, places in _by_cache(rows):
        for place_, verdict in zip(places, ask(cache, [rows[place_] for place_ in places]), strict=True):
            verdicts[place_] = verdict
    return verdicts


def _by_cache(rows: Sequence[Row]) -> list[tuple[Cache, list[int]]]:
    """Each cache among the rows, with the places of its rows."""
    groups: dict[int, tuple[Cache, list[int]]] = {}
    for place_, row in enumerate(rows):
        if (cache := row.sample.stack.cache) is not None:
            groups.setdefault(id(cache), (cache, []))[1].append(place_)
    return list(groups.values())


def _lanes(outputs: Tensor, row: Row) -> Tensor:
    return outputs[row.lanes.start : row.lanes.stop]
