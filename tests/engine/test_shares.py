"""Shares of the clock: what is earned, what is charged, who goes next; by hand, on a clock of our own."""

from __future__ import annotations

import pytest

from workers.engine.shares import Shares, weights_of

SIZES = {"image": 1.0, "video": 50.0}


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def work(shares: Shares, clock: Clock, name: str, seconds: float) -> None:
    """The model works for so long."""
    clock.now += seconds
    shares.charge(name, seconds)


def loop(shares: Shares, clock: Clock, seconds: float, sizes: dict[str, float]) -> dict[str, float]:
    """How long each worked when all of them always have work, in turns of .05 s."""
    worked = dict.fromkeys(sizes, 0.0)
    for _ in range(round(seconds / 0.05)):
        name = shares.next(sizes)
        assert name is not None
        worked[name] += 0.05
        work(shares, clock, name, 0.05)
    return worked


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shares(clock: Clock) -> Shares:
    return Shares({"image": 1.0, "video": 1.0}, 4.0, clock)


def test_no_work_is_nobodys_turn(shares: Shares) -> None:
    assert shares.next({}) is None


def test_idle_models_earn_their_share_until_they_are_full(shares: Shares, clock: Clock) -> None:
    clock.now += 2
    shares.next({})
    assert shares.credit_s == {"image": 1.0, "video": 1.0}
    clock.now += 100
    shares.next({})
    assert shares.credit_s == {"image": 4.0, "video": 4.0}


def test_a_model_alone_owes_no_more_than_the_others_can_save(shares: Shares, clock: Clock) -> None:
    """8 s of video: images earn 4 s and are full, so videos are at 4 - 8. Then they earn what they take."""
    shares.next({"video": 50.0})
    work(shares, clock, "video", 8)
    assert shares.credit_s == pytest.approx({"image": 4.0, "video": -4.0})
    work(shares, clock, "video", 1000)
    assert shares.credit_s == pytest.approx({"image": 4.0, "video": -4.0})


def test_savings_are_bounded_after_a_pause(shares: Shares, clock: Clock) -> None:
    """Who had work before a pause earns in it like anybody."""
    shares.next({"image": 1.0})
    work(shares, clock, "image", 1)
    clock.now += 100
    assert shares.next(SIZES) == "image"
    assert shares.credit_s == pytest.approx({"image": 4.0, "video": 4.0})


def test_the_smallest_jobs_go_first_while_they_have_credit(shares: Shares, clock: Clock) -> None:
    clock.now += 100
    assert shares.next(SIZES) == "image"
    assert shares.next({"video": 50.0}) == "video"


def test_who_takes_more_than_its_share_waits_at_last(shares: Shares, clock: Clock) -> None:
    """Both full. Images save 4 s and earn .5 s a second: 8 s alone, then half of the clock."""
    clock.now += 100
    assert loop(shares, clock, 8, SIZES) == pytest.approx({"image": 8.0, "video": 0.0}, abs=0.2)
    assert loop(shares, clock, 20, SIZES) == pytest.approx({"image": 10.0, "video": 10.0}, abs=4.2)
    assert loop(shares, clock, 20, SIZES) == pytest.approx({"image": 10.0, "video": 10.0}, abs=0.2)


def test_weights_set_the_shares(clock: Clock) -> None:
    shares = Shares({"image": 3.0, "video": 1.0}, 0.1, clock)
    assert loop(shares, clock, 40, SIZES) == pytest.approx({"image": 30.0, "video": 10.0}, abs=0.3)


def test_models_without_work_leave_their_share_to_the_others(clock: Clock) -> None:
    """Two of four are idle and soon full; the others share all of the clock, not half of it."""
    shares = Shares(dict.fromkeys(("image", "video", "text", "other"), 1.0), 1.0, clock)
    clock.now += 10
    assert loop(shares, clock, 40, SIZES) == pytest.approx({"image": 20.0, "video": 20.0}, abs=1.2)


def test_a_model_below_its_share_is_never_made_to_wait(shares: Shares, clock: Clock) -> None:
    """Images want .4 of the clock, .2 s in every half second; a video always runs between."""
    for _ in range(200):
        assert shares.next(SIZES) == "image"
        work(shares, clock, "image", 0.2)
        assert shares.next({"video": 50.0}) == "video"
        work(shares, clock, "video", 0.3)


def test_a_weight_for_nobody_is_refused() -> None:
    assert weights_of(["a", "b"], {"b": 2.0}) == {"a": 1.0, "b": 2.0}
    with pytest.raises(ValueError, match="weights for c, not among a, b"):
        weights_of(["a", "b"], {"c": 2.0})
