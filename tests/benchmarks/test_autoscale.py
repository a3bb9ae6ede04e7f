"""The simulated cluster, by hand: when a pod starts, what it costs, which deadline it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.autoscale.cluster import Cluster, Load
from benchmarks.autoscale.day import PICTURES, VIDEOS, Job, jobs_of
from benchmarks.autoscale.policies import Setting, settings_for
from benchmarks.autoscale.report import cheapest, frontier

START_S = (100.0, 100.0)


def job(arrives_s: float, seconds: float, deadline_s: float) -> Job:
    return Job("pictures", arrives_s, arrives_s + deadline_s, 100 * seconds, seconds)


def run(jobs: list[Job], family: str = "work", target: float = 60) -> Cluster:
    cluster = Cluster(jobs, Setting(family, {"pictures": target}).policy(), seed=0, start_s=START_S)
    cluster.run()
    return cluster


@pytest.mark.parametrize(("deadline_s", "met"), [(140.0, 1), (139.0, 0)])
def test_one_job_from_zero(deadline_s: float, met: int) -> None:
    """Arrived at 10, scraped at 15, decided at 30, ready at 130, done at 150.

    Work was last wanted at 150 (the scrape of 135), so after 600 s more, at 765, the pod goes: 735 s.
    """
    outcome = run([job(10, 20, deadline_s)]).outcome
    assert (outcome.met["pictures"], outcome.asked["pictures"], outcome.most_pods) == (met, 1, 1)
    assert outcome.gpu_hours == pytest.approx(735 / 3600)
    assert outcome.busy_hours == pytest.approx(20 / 3600)


def test_as_many_pods_as_the_work_is_worth() -> None:
    """Ten jobs of 30 s at 60 s a pod: one from zero, a decision later five. Of 90 s: by work more."""
    assert run([job(1, 30, 900)] * 10).outcome.most_pods == 5
    assert run([job(1, 30, 900)] * 10, "all jobs", 2).outcome.most_pods == 5
    assert run([job(1, 90, 900)] * 10).outcome.most_pods == 15
    assert run([job(1, 90, 900)] * 10, "all jobs", 2).outcome.most_pods == 5


def test_the_urgent_goes_first_and_the_late_last() -> None:
    """One pod, decided at 30, ready at 130: 20 s of work due at 155 go before what came first, and are in
    time; what is lost already goes last.
    """
    jobs = [job(1, 30, 900), job(2, 20, 153), job(3, 30, 100)]
    outcome = run(jobs, target=1000).outcome
    assert (outcome.most_pods, outcome.met["pictures"]) == (1, 2)


@pytest.mark.parametrize(
    ("family", "pods"), [("waiting jobs", 2.0), ("all jobs", 2.5), ("work", 3.0), ("work, by model", 3.0)]
)
def test_policies_by_hand(family: str, pods: float) -> None:
    """Four pictures wait and one runs: over 2 a pod. 30 s of work over 10 s a pod."""
    load = {"pictures": Load(waiting=4, running=1, outstanding_s=30.0)}
    target = 10.0 if "work" in family else 2.0
    assert Setting(family, {"pictures": target}).policy()(load) == pytest.approx(pods)


def test_spare_pods_by_hand() -> None:
    """Three pods at work, to be busy for .6 of the time, are five; less work than that waits."""
    load = {"pictures": Load(running=3, outstanding_s=6.0, busy=3.0)}
    assert Setting("work, with spare", {"pictures": 4.0}, 0.6).policy()(load) == pytest.approx(5)
    assert Setting("work, with spare", {"pictures": 1.0}, 0.6).policy()(load) == pytest.approx(6)


def test_a_day_is_the_same_whoever_else_asks() -> None:
    few = replace(PICTURES, name="few", rate=lambda _: 0.001, most=0.01)
    both, alone = jobs_of((few, VIDEOS), 3), jobs_of((VIDEOS,), 3)
    assert [one for one in both if one.kind == "videos"] == alone
    assert jobs_of((VIDEOS,), 4) != alone
    assert all(0 < one.tflops <= VIDEOS.full_tflops for one in alone)


def test_every_job_of_a_day_ends_once() -> None:
    day = jobs_of((VIDEOS,), 0)
    setting = next(one for one in settings_for((VIDEOS,)) if one.label == "300")
    outcome = Cluster(day, setting.policy(), seed=0).run()
    assert outcome.asked == {"videos": len(day)}
    assert outcome.busy_hours == pytest.approx(sum(one.seconds for one in day) / 3600)
    assert outcome.gpu_hours > outcome.busy_hours
    assert Cluster(day, setting.policy(), seed=0).run() == outcome


def test_frontiers_by_hand() -> None:
    rows = [
        {"family": "work", "gpu_hours": hours, "least_hits": hits}
        for hours, hits in ((10, 0.9), (12, 0.85), (15, 0.96), (20, 0.96))
    ]
    assert [row["gpu_hours"] for row in frontier(rows, "work")] == [10, 15]
    assert cheapest(rows, "work", 0.95) == rows[2]
    assert cheapest(rows, "work", 0.99) is None
