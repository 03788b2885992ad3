"""Pre-aggregated series: charts are exact whatever the order of the points."""

import math
from dataclasses import replace

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics import buckets, reading, recording, series_queries
from metrics.models import MetricBucket, MetricPoint, MetricSeries
from metrics.points import Point, Points
from tests.concurrency import in_parallel
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

NAN, INF = math.nan, math.inf
KEY = "train_loss"
WHOLE = (reading.FIRST_STEP, reading.LAST_STEP)


@pytest.fixture
def small(monkeypatch):
    """Buckets of two points, from five points on, so that few points make many buckets."""
    monkeypatch.setattr(buckets, "MIN_UNBUCKETED", 5)
    monkeypatch.setattr(buckets, "POINTS_PER_BUCKET", 2)


def point(step, value=1.0, at=0):
    return Point(KEY, step, value, at)


def stored(run):
    rows = MetricPoint.objects.filter(series__run=run).values_list("step", "timestamp_ms", "value")
    return sorted(rows, key=lambda row: (row[0], row[1], math.isnan(row[2]), row[2]))


def bucketed(run):
    """The number of points in the buckets of each size."""
    by_shift = MetricBucket.objects.filter(series__run=run).values("shift")
    return [row["total"] for row in by_shift.annotate(total=Sum("count")).order_by("shift")]


def assert_exact(buckets, points):
    """The ordered ``buckets`` summarize the sorted ``points``, each point in one bucket."""
    remaining = list(points)
    for bucket in buckets:
        members, remaining = remaining[: bucket.count], remaining[bucket.count :]
        numbers = [value for _step, _at, value in members if not math.isnan(value)]
        assert (bucket.first_step, bucket.first_timestamp_ms) == members[0][:2]
        assert (bucket.last_step, bucket.last_timestamp_ms) == members[-1][:2]
        assert str(bucket.first + 0.0) == str(members[0][2] + 0.0)
        assert str(bucket.last + 0.0) == str(members[-1][2] + 0.0)
        assert bucket.minimum == min(numbers, default=None)
        assert bucket.maximum == max(numbers, default=None)
        if numbers:
            steps = [step for step, _at, value in members if value == bucket.minimum]
            assert bucket.minimum_step in steps
            steps = [step for step, _at, value in members if value == bucket.maximum]
            assert bucket.maximum_step in steps
    assert remaining == []


def test_short_series_has_no_buckets():
    run = RunFactory()

    recording.record_metrics(run, [point(step) for step in range(buckets.MIN_UNBUCKETED - 1)])

    assert bucketed(run) == []


def test_long_series_has_buckets_of_every_size():
    run = RunFactory()

    recording.record_metrics(run, [point(step) for step in range(10_000)])

    series = MetricSeries.objects.get(run=run)
    assert series.bucket_shift == 6
    assert series.bucketed_below == 9984  # 156 buckets of 64 steps; the next is filling up
    assert bucketed(run) == [9984] * 4


def test_buckets_of_a_sparse_series_hold_about_64_points():
    run = RunFactory()

    recording.record_metrics(run, [point(step * 1000) for step in range(2048)])

    fine = MetricBucket.objects.filter(series__run=run, shift=run.series.get().bucket_shift)
    assert 32 <= fine.first().count <= 128


def points_read():
    """The number of points read in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relname = 'metrics_metricpoint'"
        )
        return cursor.fetchone()[0]


def test_extending_reads_only_unbucketed_points():
    run = RunFactory()
    report = [Point(key, step, 0.5, 0) for key in (KEY, "other") for step in range(10_000)]
    recording.record_points(run.pk, Points.of(report))
    before = points_read()

    recording.record_points(run.pk, Points.of([point(step) for step in range(10_000, 12_000)]))

    assert bucketed(run)[0] == 9984 + 11_968
    assert 1900 <= points_read() - before <= 3000


def test_points_of_a_single_step_fill_no_bucket_and_are_not_retried(
    small, django_assert_num_queries
):
    run = RunFactory()
    recording.record_metrics(run, [point(0, at=at) for at in range(10)])

    with django_assert_num_queries(1):
        recording.record_points(run.pk, Points.of([point(0, at=11)]))

    assert bucketed(run) == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrent_clients_leave_no_point_unbucketed(small):
    run = RunFactory()

    def report(first):
        for step in range(first, 400, 4):
            recording.record_points(run.pk, Points.of([point(step, float(step))]))

    assert in_parallel(*(lambda first=first: report(first) for first in range(4))) == [None] * 4
    buckets.extend(run.pk, [run.series.get().pk])

    below = run.series.get().bucketed_below
    assert bucketed(run) == [below] * 4  # one point per step
    [series] = reading.series(run.pk, [KEY], max_points=20)
    assert_exact(series.buckets, stored(run))


def test_buckets_extended_after_a_rewind_hold_every_point_once(small):
    """Buckets are extended in a separate transaction, so a rewind may come in between."""
    run = RunFactory()
    recording.record_metrics(run, [point(step) for step in (*range(100), *range(20_000, 20_100))])
    recording.rewind(run, 19_000)

    buckets.extend(run.pk, [run.series.get().pk])
    recording.record_metrics(run, [point(step) for step in range(19_000, 19_100)])

    [series] = reading.series(run.pk, [KEY], max_points=20)
    assert_exact(series.buckets, stored(run))


def test_series_emptied_by_a_rewind_gets_buckets_when_it_grows_again(small):
    run = RunFactory()
    recording.record_metrics(run, [point(step) for step in (1, 2, 3)])
    recording.rewind(run, 0)

    buckets.extend(run.pk, [run.series.get().pk])
    recording.record_metrics(run, [point(step) for step in range(1, 101)])

    assert len(bucketed(run)) == 4


def test_late_points_do_not_extend_the_buckets_at_every_step(small, django_assert_num_queries):
    run = RunFactory()
    recording.record_metrics(run, [point(step) for step in range(0, 200, 2)])
    recording.record_metrics(run, [point(step) for step in range(1, 150, 2)])

    with django_assert_num_queries(1):
        recording.record_points(run.pk, Points.of([point(200)]))


def test_points_between_the_last_kept_point_and_the_end_of_the_buckets_are_in_the_chart(small):
    run = RunFactory()
    recording.record_metrics(run, [point(step) for step in (*range(100), *range(3000, 5000))])
    recording.rewind(run, 2047)
    series = run.series.get()
    gap = range(series.last_step + 1, series.bucketed_below)
    assert gap

    recording.record_metrics(run, [point(gap[0]), point(gap[-1])])

    [series] = reading.series(run.pk, [KEY], max_points=20)
    assert_exact(series.buckets, stored(run))


def test_chart_read_during_a_rewind_misses_no_kept_point(small):
    run = RunFactory()
    recording.record_metrics(run, [point(step) for step in range(1000)])
    [before] = series_queries.stored_series(run.pk, [KEY])
    recording.rewind(run, 700)

    series = reading._long(before, *WHOLE, 20, by_time=False)

    assert_exact(series.buckets, stored(run))


STEPS = st.integers(-45, 45) | st.integers(-30_000, 30_000)
points = st.builds(
    point,
    step=st.integers(-40, 40),
    value=st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e300, NAN, INF, -INF]),
    at=st.integers(0, 2),
)
# Steps of varying density, so that there are several buckets of even the coarsest size.
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
def test_any_batches_in_any_order_have_exact_buckets(small, batches, rewind, ends, max_points):
    low, high = sorted(ends)
    with transaction.atomic():
        run = RunFactory()
        for number, (distance, batch) in enumerate(batches):
            recording.record_metrics(run, [replace(p, step=distance * p.step) for p in batch])
            if number == 3 and rewind is not None:
                recording.rewind(run, rewind)

        everything = stored(run)
        series = run.series.first()
        if series is not None and series.bucketed_below is not None:
            below = sum(step < series.bucketed_below for step, _at, _value in everything)
            assert bucketed(run) == [below] * 4 * (below > 0)
        for curve in reading.series(run.pk, [KEY], max_points=max_points):
            assert len(curve.buckets) <= max_points
            assert_exact(curve.buckets, everything if curve.buckets else [])
        within = [row for row in everything if low <= row[0] <= high]
        for curve in reading.series(
            run.pk, [KEY], max_points=max_points, from_step=low, to_step=high
        ):
            if curve.buckets:
                assert_exact(curve.buckets, within)
            else:
                assert [(item.step, item.timestamp_ms) for item in curve.points] == [
                    row[:2] for row in within
                ]


def test_series_by_time_is_bucketed_by_time(small):
    run = RunFactory()
    # All at one step, as clients log that report no step.
    recording.record_metrics(run, [point(0, float(at), at=at) for at in range(100)])

    [series] = reading.series(run.pk, [KEY], max_points=10, by_time=True)

    assert [bucket.count for bucket in series.buckets] == [10] * 10
    assert [bucket.minimum for bucket in series.buckets] == [float(at) for at in range(0, 100, 10)]
