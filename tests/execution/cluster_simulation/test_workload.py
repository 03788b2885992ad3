"""Jobs as in a published cluster."""

from collections import Counter
from statistics import median

import pytest

from execution.cluster_simulation.workload import KALOS, SEREN, workload

DAYS = 30


def jobs_of(profile, *, runs=10_000, load=0.8, seed=1):
    return workload(profile, runs=runs, days=DAYS, load=load, seed=seed)


@pytest.mark.parametrize("profile", [SEREN, KALOS], ids=["seren", "kalos"])
def test_kinds_have_their_share_of_jobs_and_of_gpu_time(profile):
    jobs = jobs_of(profile, runs=40_000)

    counts, seconds = Counter(), Counter()
    for job in jobs:
        counts[job.kind] += 1
        seconds[job.kind] += job.gpu_seconds
    for name, kind in profile.kinds.items():
        assert counts[name] / len(jobs) == pytest.approx(kind.share, rel=0.01)
        assert seconds[name] / seconds.total() == pytest.approx(kind.gpu_share, rel=0.1)


def test_jobs_need_the_load_together():
    jobs = jobs_of(SEREN, runs=40_000, load=0.5)

    needed = sum(job.gpu_seconds for job in jobs)
    assert needed == pytest.approx(0.5 * SEREN.gpus * DAYS * 86_400, rel=0.05)


def test_most_evaluations_take_minutes():
    seconds = [job.seconds for job in jobs_of(SEREN) if job.kind == "evaluation"]

    assert median(seconds) == pytest.approx(120, rel=0.3)


def test_only_completed_jobs_work_as_long_as_planned():
    for job in jobs_of(SEREN, runs=1000):
        assert (job.planned_seconds == job.seconds) == (job.ending == "completed")


def test_same_seed_makes_the_same_jobs():
    assert jobs_of(SEREN, runs=100) == jobs_of(SEREN, runs=100)
    assert jobs_of(SEREN, runs=100) != jobs_of(SEREN, runs=100, seed=2)


def test_smaller_cluster_has_smaller_jobs():
    jobs = workload(SEREN.resized(64), runs=500, days=1, load=0.5, seed=1)

    assert max(job.gpu_count for job in jobs) == 16
