"""The metrics of a run that matter."""

import pytest

from metrics.key_metrics import key_metrics
from metrics.points import Point
from metrics.recording import record_metrics
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


def test_without_a_word_of_the_project_the_important_ones_come_first():
    run = RunFactory()
    record_metrics(run, [Point(key, 1, 1.0, 0) for key in ("lr", "train/loss", "eval/loss")])

    assert [metric.key for metric in key_metrics(run)] == ["eval/loss", "train/loss"]


def test_project_says_which_metrics_matter_and_in_which_order():
    run = RunFactory(project__key_metrics=["b", "missing", "a"])
    record_metrics(run, [Point(key, 1, 1.0, 0) for key in ("a", "b", "loss")])

    assert [metric.key for metric in key_metrics(run)] == ["b", "a"]


def test_best_is_at_its_first_step_by_the_direction_of_the_metric():
    run = RunFactory(project__key_metrics=["loss", "accuracy"])
    values = [(1, 3.0), (2, 1.0), (3, 1.0), (4, 2.0)]
    for key in ("loss", "accuracy"):
        record_metrics(run, [Point(key, step, value, 0) for step, value in values])

    loss, accuracy = key_metrics(run)

    assert (loss.best, loss.best_step, loss.last, loss.last_step) == (1.0, 2, 2.0, 4)
    assert (accuracy.best, accuracy.best_step) == (3.0, 1)


@pytest.mark.parametrize("best_at", [1234, 4999])
def test_best_is_found_in_buckets_and_in_what_is_not_in_them(best_at):
    run = RunFactory()
    values = [0.5 if step == best_at else 2.0 + step % 3 for step in range(5000)]
    record_metrics(run, [Point("loss", step, value, 0) for step, value in enumerate(values)])

    (loss,) = key_metrics(run)

    assert (loss.best, loss.best_step) == (0.5, best_at)
