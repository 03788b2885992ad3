"""Series summed up ahead: whatever comes in whichever order, a chart shows what is true."""

import math
from dataclasses import replace

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runs import buckets, ingestion, metrics
from runs.models import MetricBucket, MetricPoint, MetricSeries
from runs.points import Point, Points
from tests.concurrency import in_parallel
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

NAN, INF = math.nan, math.inf
KEY = "train_loss"
WHOLE = (metrics.FIRST_STEP, metrics.LAST_STEP)


@pytest.fixture
def small(monkeypatch):
    """Buckets of two points, from five points on: what takes thousands shows with a few."""
    monkeypatch.setattr(buckets, "WANTED_FROM", 5)
    monkeypatch.setattr(buckets, "POINTS_A_BUCKET", 2)


def point(step, value=1.0, at=0):
    return Point(KEY, step, value, at)


def stored(run):
    rows = MetricPoint.objects.filter(series__run=run).values_list("step", "timestamp_ms", "value")
    return sorted(rows, key=lambda row: (row[0], row[1], math.isnan(row[2]), row[2]))


def bucketed(run):
    """Points in buckets, on each level."""
    counted = MetricBucket.objects.filter(series__run=run).values("shift")
    return [row["total"] for row in counted.annotate(total=Sum("count")).order_by("shift")]


def assert_true(found, points):
    """``found`` buckets are those of ``points``, sorted, in their order: each in one of them."""
    left = list(points)
    for bucket in found:
        mine, left = left[: bucket.count], left[bucket.count :]
        numbers = [value for _step, _at, value in mine if not math.isnan(value)]
        assert (bucket.first_step, bucket.first_timestamp_ms) == mine[0][:2]
        assert (bucket.last_step, bucket.last_timestamp_ms) == mine[-1][:2]
        assert str(bucket.first + 0.0) == str(mine[0][2] + 0.0)
        assert str(bucket.last + 0.0) == str(mine[-1][2] + 0.0)
        assert bucket.minimum == min(numbers, default=None)
        assert bucket.maximum == max(numbers, default=None)
        if numbers:
            steps = [step for step, _at, value in mine if value == bucket.minimum]
            assert bucket.minimum_step in steps
            steps = [step for step, _at, value in mine if value == bucket.maximum]
            assert bucket.maximum_step in steps
    assert left == []


def test_short_series_has_no_buckets():
    run = RunFactory()

    ingestion.record_metrics(run, [point(step) for step in range(buckets.WANTED_FROM - 1)])

    assert bucketed(run) == []


def test_long_series_is_summed_up_on_every_level():
    run = RunFactory()

    ingestion.record_metrics(run, [point(step) for step in range(10_000)])

    series = MetricSeries.objects.get(run=run)
    assert series.bucket_shift == 6
    assert series.bucketed_below == 9984  # 156 buckets of 64 steps; the next is filling up
    assert bucketed(run) == [9984] * 4


def test_buckets_of_a_sparse_series_hold_as_many_points():
    run = RunFactory()

    ingestion.record_metrics(run, [point(step * 1000) for step in range(2048)])

    fine = MetricBucket.objects.filter(series__run=run, shift=run.series.get().bucket_shift)
    assert 32 <= fine.first().count <= 128


def points_read():
    """By this transaction, by whatever way."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relname = 'runs_metricpoint'"
        )
        return cursor.fetchone()[0]


def test_summing_up_reads_what_is_in_no_bucket_yet_and_nothing_else():
    run = RunFactory()
    report = [Point(key, step, 0.5, 0) for key in (KEY, "other") for step in range(10_000)]
    ingestion.record_points(run.pk, Points.of(report))
    before = points_read()

    ingestion.record_points(run.pk, Points.of([point(step) for step in range(10_000, 12_000)]))

    assert bucketed(run)[0] == 9984 + 11_968
    assert 1900 <= points_read() - before <= 3000


def test_points_of_one_step_alone_fill_no_bucket_and_are_not_tried_again(
    small, django_assert_num_queries
):
    run = RunFactory()
    ingestion.record_metrics(run, [point(0, at=at) for at in range(10)])

    with django_assert_num_queries(1):
        ingestion.record_points(run.pk, Points.of([point(0, at=11)]))

    assert bucketed(run) == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_reporters_side_by_side_leave_no_point_out_of_the_buckets(small):
    run = RunFactory()

    def report(first):
        for step in range(first, 400, 4):
            ingestion.record_points(run.pk, Points.of([point(step, float(step))]))

    assert in_parallel(*(lambda first=first: report(first) for first in range(4))) == [None] * 4
    buckets.extend(run.pk, [run.series.get().pk])

    below = run.series.get().bucketed_below
    assert bucketed(run) == [below] * 4  # a point for each step
    [found] = metrics.series(run, [KEY], max_points=20)
    assert_true(found.buckets, stored(run))


def test_buckets_extended_after_a_rewind_hold_every_point_once(small):
    """A report extends them in a transaction of its own, and a rewind may come between."""
    run = RunFactory()
    ingestion.record_metrics(run, [point(step) for step in (*range(100), *range(20_000, 20_100))])
    ingestion.rewind(run, 19_000)

    buckets.extend(run.pk, [run.series.get().pk])
    ingestion.record_metrics(run, [point(step) for step in range(19_000, 19_100)])

    [found] = metrics.series(run, [KEY], max_points=20)
    assert_true(found.buckets, stored(run))


def test_series_emptied_by_a_rewind_is_summed_up_when_it_grows_again(small):
    run = RunFactory()
    ingestion.record_metrics(run, [point(step) for step in (1, 2, 3)])
    ingestion.rewind(run, 0)

    buckets.extend(run.pk, [run.series.get().pk])
    ingestion.record_metrics(run, [point(step) for step in range(1, 101)])

    assert len(bucketed(run)) == 4


def test_late_points_do_not_have_the_buckets_extended_at_every_step(
    small, django_assert_num_queries
):
    run = RunFactory()
    ingestion.record_metrics(run, [point(step) for step in range(0, 200, 2)])
    ingestion.record_metrics(run, [point(step) for step in range(1, 150, 2)])

    with django_assert_num_queries(1):
        ingestion.record_points(run.pk, Points.of([point(200)]))


def test_points_between_what_a_rewind_left_and_where_its_buckets_end_are_in_the_chart(small):
    run = RunFactory()
    ingestion.record_metrics(run, [point(step) for step in (*range(100), *range(3000, 5000))])
    ingestion.rewind(run, 2047)
    series = run.series.get()
    gap = range(series.last_step + 1, series.bucketed_below)
    assert gap

    ingestion.record_metrics(run, [point(gap[0]), point(gap[-1])])

    [found] = metrics.series(run, [KEY], max_points=20)
    assert_true(found.buckets, stored(run))


def test_chart_read_while_a_rewind_goes_on_misses_no_point_that_is_kept(small):
    run = RunFactory()
    ingestion.record_metrics(run, [point(step) for step in range(1000)])
    before = run.series.get()
    ingestion.rewind(run, 700)

    [found] = [metrics._long(before, *WHOLE, 20, by_time=False)]

    assert_true(found.buckets, stored(run))


STEPS = st.integers(-45, 45) | st.integers(-30_000, 30_000)
points = st.builds(
    point,
    step=st.integers(-40, 40),
    value=st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e300, NAN, INF, -INF]),
    at=st.integers(0, 2),
)
# Steps that come closer together at one time than at another: then there are several buckets even
# of the coarsest.
batches = st.lists(
    st.tuples(st.sampled_from([1, 100, 700]), st.lists(points, max_size=12)), max_size=8
)


@given(
    batches=batches,
    rewind=st.none() | st.integers(0, 40) | st.integers(0, 28_000),
    ends=st.tuples(STEPS, STEPS),
    max_points=st.integers(2, 12),
)
@hypothesis_settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_batches_in_any_order_are_summed_up_as_they_are(
    small, batches, rewind, ends, max_points
):
    low, high = sorted(ends)
    with transaction.atomic():
        run = RunFactory()
        for number, (apart, batch) in enumerate(batches):
            ingestion.record_metrics(run, [replace(one, step=apart * one.step) for one in batch])
            if number == 3 and rewind is not None:
                ingestion.rewind(run, rewind)

        everything = stored(run)
        series = run.series.first()
        if series is not None and series.bucketed_below is not None:
            below = sum(step < series.bucketed_below for step, _at, _value in everything)
            assert bucketed(run) == [below] * 4 * (below > 0)
        for found in metrics.series(run, [KEY], max_points=max_points):
            assert len(found.buckets) <= max_points
            assert_true(found.buckets, everything if found.buckets else [])
        within = [row for row in everything if low <= row[0] <= high]
        for found in metrics.series(run, [KEY], max_points=max_points, from_step=low, to_step=high):
            if found.buckets:
                assert_true(found.buckets, within)
            else:
                assert [(item.step, item.timestamp_ms) for item in found.points] == [
                    row[:2] for row in within
                ]


def test_series_by_time_is_bucketed_by_time(small):
    run = RunFactory()
    # All of one step, as clients log that name none.
    ingestion.record_metrics(run, [point(0, float(at), at=at) for at in range(100)])

    [found] = metrics.series(run, [KEY], max_points=10, by_time=True)

    assert [bucket.count for bucket in found.buckets] == [10] * 10
    assert [bucket.minimum for bucket in found.buckets] == [float(at) for at in range(0, 100, 10)]
