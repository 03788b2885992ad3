"""The read side of metrics."""

import math

import orjson
import pytest

from runs import metrics
from runs.ingestion import record_metrics
from runs.points import Point
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


def record(run, key, values, first_step=1):
    points = [
        Point(key, step, value, timestamp_ms=1_700_000_000_000)
        for step, value in enumerate(values, start=first_step)
    ]
    record_metrics(run, points)


def test_summaries_tell_last_least_greatest_and_count():
    run = RunFactory()
    record(run, "train_loss", [2.0, 4.0, 1.0, 3.0])

    [summary] = metrics.summaries(run)

    assert summary == metrics.MetricSummary(
        key="train_loss",
        count=4,
        minimum=1.0,
        maximum=4.0,
        last_step=4,
        last_timestamp_ms=1_700_000_000_000,
        last_value=3.0,
    )


def test_summaries_read_no_points(django_assert_num_queries):
    run = RunFactory()
    record(run, "train_loss", [2.0])
    record(run, "eval_loss", [3.0])

    with django_assert_num_queries(1):
        found = metrics.summaries(run)

    assert [summary.key for summary in found] == ["eval_loss", "train_loss"]


def test_summaries_leave_nan_out_of_least_and_greatest():
    run = RunFactory()
    record(run, "train_loss", [1.0, math.nan])

    [summary] = metrics.summaries(run)

    assert (summary.minimum, summary.maximum) == (1.0, 1.0)
    assert math.isnan(summary.last_value)


def test_series_that_fit_hold_every_point(django_assert_num_queries):
    run = RunFactory()
    record(run, "a", [1.0, 2.0])
    record(run, "b", [3.0])

    with django_assert_num_queries(2):
        found = metrics.series(run, ["a", "b"], max_points=2)

    assert [(one.key, [(p.step, p.value) for p in one.points]) for one in found] == [
        ("a", [(1, 1.0), (2, 2.0)]),
        ("b", [(1, 3.0)]),
    ]
    assert not any(one.buckets for one in found)


def test_series_that_do_not_fit_come_in_buckets_that_keep_the_spike():
    run = RunFactory()
    values = [1.0] * 1000
    values[617] = 99.0
    record(run, "train_loss", values)

    [found] = metrics.series(run, ["train_loss"], max_points=10)

    assert len(found.buckets) == 10
    assert not found.points
    assert max(bucket.maximum for bucket in found.buckets) == 99.0
    assert (found.buckets[0].first_step, found.buckets[-1].last_step) == (1, 1000)


def test_series_of_a_range_are_exact_when_the_range_fits():
    run = RunFactory()
    record(run, "train_loss", [float(step) for step in range(1, 1001)])

    [found] = metrics.series(run, ["train_loss"], max_points=10, from_step=500, to_step=509)

    assert [point.value for point in found.points] == [float(step) for step in range(500, 510)]


def test_series_of_a_wide_range_are_buckets_of_that_range_alone():
    run = RunFactory()
    record(run, "train_loss", [float(step) for step in range(1, 1001)])

    [found] = metrics.series(run, ["train_loss"], max_points=10, from_step=101, to_step=300)

    assert (found.buckets[0].first, found.buckets[-1].last) == (101.0, 300.0)


@pytest.mark.parametrize("key", ["never_logged", "nul\x00byte"])
def test_series_of_an_unknown_key_are_none(key):
    run = RunFactory()

    assert metrics.series(run, [key], max_points=10) == []


def test_series_of_other_runs_do_not_show():
    run = RunFactory()
    record(RunFactory(), "train_loss", [1.0])

    assert metrics.series(run, ["train_loss"], max_points=10) == []


def test_series_of_any_range_of_integers_are_readable():
    run = RunFactory()
    record(run, "train_loss", [1.0])

    [found] = metrics.series(
        run, ["train_loss"], max_points=10, from_step=-(10**30), to_step=10**30
    )

    assert len(found.points) == 1


@pytest.mark.parametrize("max_points", [2, 10])
def test_json_of_a_series_says_nan_and_infinity_as_text(max_points):
    run = RunFactory()
    record(run, "train_loss", [1.0, math.nan, math.inf])

    [found] = metrics.series(run, ["train_loss"], max_points=max_points)
    text = orjson.dumps(found.as_json()).decode()

    assert '"NaN"' in text
    assert '"Infinity"' in text


def test_series_between_the_ends_of_what_a_step_may_be_come_in_buckets():
    run = RunFactory()
    record(run, "train_loss", [1.0], first_step=-(2**63))
    record(run, "train_loss", [2.0], first_step=2**63 - 1)
    record(run, "train_loss", [3.0], first_step=0)

    [found] = metrics.series(run, ["train_loss"], max_points=2)

    assert [(bucket.first, bucket.last) for bucket in found.buckets] == [(1.0, 1.0), (3.0, 2.0)]
