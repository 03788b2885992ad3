"""What came of a simulation, in numbers."""

import pytest

from execution.cluster_simulation.cluster import Outcome, SimulatedRun
from execution.cluster_simulation.results import (
    estimate_errors,
    fairness,
    quantile,
    size_of,
    used_gpu_seconds,
)
from execution.cluster_simulation.trace import Job


def run(*, submitted=0.0, started=0.0, seconds=100.0, project="a", gpus=1, estimate=None):
    job = Job(submitted, gpus, seconds, seconds, project=project)
    return SimulatedRun("run_x", job, 100, started=started, estimate=estimate)


def test_quantile_is_the_nearest_rank():
    assert [quantile([3, 1, 2, 4], share) for share in (0.25, 0.5, 0.95)] == [1, 2, 4]


def test_use_is_counted_until_the_end():
    outcome = Outcome(8, [], used=[(0.0, 4), (10.0, 8), (20.0, 0)])

    assert used_gpu_seconds(outcome, 15.0) == 4 * 10 + 8 * 5
    assert used_gpu_seconds(outcome, 50.0) == 4 * 10 + 8 * 10


def test_projects_that_are_treated_alike_are_treated_fairly():
    assert fairness([run(started=100.0), run(started=100.0, project="b")]) == pytest.approx(1.0)
    assert fairness([run(started=900.0), run(project="b")]) < 0.7


def test_estimates_count_for_those_that_wait_long():
    runs = [
        run(started=1060.0, estimate=(60.0, 560.0)),  # half of what it was
        run(started=70.0, estimate=(60.0, 6000.0)),  # did not wait long
        run(started=5000.0),  # nobody asked
    ]

    assert estimate_errors(Outcome(8, runs)) == [0.5]


@pytest.mark.parametrize(
    ("gpus", "size"), [(1, "1 – 7"), (8, "8 – 63"), (255, "64 – 255"), (2000, "256 –")]
)
def test_sizes_are_classes(gpus, size):
    assert size_of(run(gpus=gpus)).strip() == size
