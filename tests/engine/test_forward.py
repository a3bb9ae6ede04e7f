"""Go, Jump, Emit and masks, worked by hand on a network whose blocks double and whose head adds 1."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from protocol.receipts import Action
from tests.engine.toys import Doubling, Draft, Drop, FirstBlock, Interval, make_sample
from workers.core import Emit, Go, Point, Row, Sample, Stack, Stream, Verdict
from workers.engine.forward import Forward
from workers.engine.tracks import Outcome
from workers.sampling import guide, make_solver


class Moved:
    """Runs forwards and remembers every evaluation settled, as (sample, output, FLOP, action, blocks)."""

    def __init__(self, network: Doubling, max_forecasts: int = 8) -> None:
        self.outcomes: list[tuple[str, list[float], int, Action, int]] = []
        self._solver = make_solver("euler")
        self._forward = Forward(network, self._settle, max_forecasts)

    def turn(self, *samples: Sample) -> None:
        wanted = [(sample, point) for sample in samples if (point := self._solver.ask(sample)) is not None]
        self._forward.run(wanted)

    def _settle(self, outcome: Outcome) -> Point | None:
        sample, work = outcome.sample, outcome.work
        values = outcome.output.flatten().tolist()
        self.outcomes.append((sample.key, values, work.flop, work.action, work.blocks_run))
        self._solver.tell(sample, guide(outcome.output, sample.guidance_scale))
        return self._solver.ask(sample)


def test_plain_rows_share_one_forward() -> None:
    """10 doubled twice is 40, the head makes 41; 3 gives 13. FLOP: 1 + 10 + 11 + 100 = 122."""
    network = Doubling()
    moved = Moved(network)
    moved.turn(make_sample("a", 10), make_sample("b", 3))
    assert moved.outcomes == [("a", [41.0], 122, Action.FULL, 2), ("b", [13.0], 122, Action.FULL, 2)]
    assert network.calls == [(0, 2), (1, 2)]


def test_lanes_travel_together_and_are_guided() -> None:
    """Two equal lanes give 41 twice; guidance leaves 41; a step of -.25 takes 10 to -.25. FLOP: 2 x 122."""
    network, sample = Doubling(), make_sample("a", 10, lanes=2, scale=3.0)
    moved = Moved(network)
    moved.turn(sample)
    assert moved.outcomes == [("a", [41.0, 41.0], 244, Action.FULL, 2)]
    assert network.calls == [(0, 2), (1, 2)]
    assert sample.latents.item() == -0.25


def test_a_forecast_leaves_the_forward_and_the_row_goes_on_in_the_same_turn() -> None:
    """Step -.25. a: 41 at 10, stepped to -.25, the next evaluation emits 41 again and lands at -10.5.

    In turn two a first emits (evaluation 1), then runs evaluation 2 beside b's evaluation 1.
    """
    network = Doubling()
    cached = make_sample("a", 10, stack=Stack(cache=Interval(2)))
    plain = make_sample("b", 3)
    moved = Moved(network)
    moved.turn(cached, plain)
    assert network.calls == [(0, 2), (1, 2)]
    moved.turn(cached, plain)
    assert network.calls[2:] == [(0, 2), (1, 2)]
    assert [(key, action) for key, _, _, action, _ in moved.outcomes[2:]] == [
        ("a", Action.FORECAST),
        ("b", Action.FULL),
        ("a", Action.FULL),
    ]
    assert moved.outcomes[2][1:3] == ([41.0], 0)
    assert cached.evaluation == 3
    assert plain.evaluation == 2


def test_at_most_so_many_forecasts_in_a_turn() -> None:
    network = Doubling()
    sample = make_sample("a", 1, steps=9, stack=Stack(cache=Interval(2, every=9)))
    moved = Moved(network, max_forecasts=3)
    moved.turn(sample)
    for done in (4, 7, 9):
        moved.turn(sample)
        assert sample.evaluation == done
    assert len(network.calls) == 2


def test_a_jump_replaces_the_hidden_state_and_skips_blocks() -> None:
    """Three blocks. Evaluation 0 at 10: 20 after block 0, 80 after all, head 81; residual 60. Step -.25:
    -10.25.

    Evaluation 1: block 0 gives -20.5, moved by 40.5/20 > 2 at threshold 2: full. At threshold 3 it jumps to
    the head with -20.5 + 60 = 39.5, head 40.5. FLOP 1 + 10 + 100.
    """
    for threshold, output, flop, action in ((2.0, -81.0, 134, Action.FULL), (3.0, 40.5, 111, Action.PARTIAL)):
        network = Doubling(num_blocks=3)
        sample = make_sample("a", 10, stack=Stack(cache=FirstBlock(3, threshold)))
        moved = Moved(network)
        moved.turn(sample)
        assert moved.outcomes[0] == ("a", [81.0], 134, Action.FULL, 3)
        moved.turn(sample)
        assert moved.outcomes[1][1:4] == ([output], flop, action)


def test_rows_part_at_a_cut_and_meet_again() -> None:
    """The jumping row skips blocks 1 and 2 and is back for the head; its neighbour runs all."""
    network = Doubling(num_blocks=3)
    jumping = make_sample("a", 10, stack=Stack(cache=FirstBlock(3, 3.0)))
    plain = make_sample("b", 3)
    moved = Moved(network)
    moved.turn(jumping, plain)
    network.calls.clear()
    moved.turn(jumping, plain)
    assert network.calls == [(0, 2), (1, 1), (2, 1)]
    assert [outcome[3] for outcome in moved.outcomes[2:]] == [Action.PARTIAL, Action.FULL]


def test_a_draft_is_verified_and_kept() -> None:
    """Evaluation 0 keeps 20 before block 1. Evaluation 1 drafts 20, block 1 makes 40, head 41."""
    network, sample = Doubling(), make_sample("a", 10, stack=Stack(cache=Draft(2, reject=False)))
    moved = Moved(network)
    moved.turn(sample)
    moved.turn(sample)
    assert moved.outcomes[1] == ("a", [41.0], 1 + 11 + 100, Action.PARTIAL, 1)
    assert network.calls == [(0, 1), (1, 1), (1, 1)]


def test_a_rejected_draft_starts_again_from_the_embedding_and_is_paid_for() -> None:
    """Evaluation 1 at -.25: the draft's block 1 is thrown away; then -.25 doubles twice to -1, head 0.

    FLOP: embed 1, draft 11, blocks 21, head 100.
    """
    network, sample = Doubling(), make_sample("a", 10, stack=Stack(cache=Draft(2, reject=True)))
    moved = Moved(network)
    moved.turn(sample)
    moved.turn(sample)
    assert moved.outcomes[1] == ("a", [0.0], 133, Action.FULL, 3)
    assert network.calls == [(0, 1), (1, 1), (1, 1), (0, 1), (1, 1)]


def test_masks_are_gathered_run_and_scattered() -> None:
    """Three blocks, the middle one dropped from evaluation 1 on: -10.25 doubles twice to -41, head -40."""
    network = Doubling(num_blocks=3)
    routed = make_sample("a", 10, stack=Stack(router=Drop(3, (1,))))
    plain = make_sample("b", 10)
    moved = Moved(network)
    moved.turn(routed, plain)
    network.calls.clear()
    moved.turn(routed, plain)
    assert network.calls == [(0, 2), (1, 1), (2, 2)]
    assert moved.outcomes[2] == ("a", [-40.0], 1 + 10 + 12 + 100, Action.ROUTED, 2)
    assert moved.outcomes[3] == ("b", [-81.0], 134, Action.FULL, 3)


def test_a_mask_and_a_jump_go_together() -> None:
    """The router drops block 2 and the cache jumps from cut 1 to the head: only block 0 runs."""
    network = Doubling(num_blocks=3)
    sample = make_sample("a", 10, stack=Stack(cache=FirstBlock(3, 9.0), router=Drop(3, (2,))))
    moved = Moved(network)
    moved.turn(sample)
    moved.turn(sample)
    assert moved.outcomes[1][2:] == (111, Action.PARTIAL, 1)


def test_each_cache_hears_only_of_its_own_rows() -> None:
    first, second = FirstBlock(3, 3.0), Interval(3)
    samples = [
        make_sample("a", 10, stack=Stack(cache=first)),
        make_sample("b", 10, stack=Stack(cache=second)),
        make_sample("c", 10, stack=Stack(cache=first)),
    ]
    network = Doubling(num_blocks=3)
    moved = Moved(network)
    moved.turn(*samples)
    moved.turn(*samples)
    assert network.calls == [(0, 3), (1, 3), (2, 3), (0, 3), (1, 1), (2, 1)]
    assert samples[0].latents.item() == samples[2].latents.item()


def test_kept_states_stay_what_they_were() -> None:
    sample = make_sample("a", 10, stack=Stack(cache=FirstBlock(3, 3.0)))
    moved = Moved(Doubling(num_blocks=3))
    moved.turn(sample, make_sample("b", 5))
    kept = sample.anchors[-1].kept
    assert (kept[1][0].item(), kept[3][0].item()) == (20.0, 80.0)
    moved.turn(sample, make_sample("b", 5))
    assert (kept[1][0].item(), kept[3][0].item()) == (20.0, 80.0)


class Stubborn(Interval):
    """Answers every cut as told."""

    def __init__(self, answer: Verdict) -> None:
        super().__init__(2)
        self._told = answer

    def begin(self, rows: Sequence[Row]) -> list[Go | Emit]:
        return [Go(0, 1)] * len(rows)

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> list[Verdict]:
        return [self._told] * len(rows)


@pytest.mark.parametrize("answer", [Go(1, 1), Go(2, 2), Go(0, 3)])
def test_an_impossible_route_is_refused(answer: Go) -> None:
    sample = make_sample("a", 10, stack=Stack(cache=Stubborn(answer)))
    with pytest.raises(ValueError, match="at cut 1"):
        Moved(Doubling()).turn(sample)


def test_rows_are_bitwise_alone_whatever_their_neighbours_do() -> None:
    """Many turns of a mixed company; every sample's states equal those of a run by itself."""

    def company() -> list[Sample]:
        return [
            make_sample("plain", 0.3, steps=6),
            make_sample("guided", -0.7, steps=5, lanes=2, scale=1.7),
            make_sample("interval", 0.9, steps=7, stack=Stack(cache=Interval(3, every=3))),
            make_sample("first", 1.1, steps=6, stack=Stack(cache=FirstBlock(3, 0.5))),
            make_sample(
                "draft", 0.1, steps=6, stack=Stack(cache=Draft(3, reject=False), router=Drop(3, (1,)))
            ),
        ]

    together = company()
    for _ in range(8):
        Moved(Doubling(num_blocks=3)).turn(*together)
    for index, alone in enumerate(company()):
        for _ in range(8):
            Moved(Doubling(num_blocks=3)).turn(alone)
        assert torch.equal(alone.latents, together[index].latents), alone.key
