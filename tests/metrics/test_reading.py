"""Reading metrics: summaries and series."""

import math

import orjson
import pytest
from django.db import connection

from core import database
from metrics import buckets, reading
from metrics.points import Point
from metrics.recording import record_metrics
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


def record(run, key, values, first_step=1):
    points = [
        Point(key, step, value, timestamp_ms=1_700_000_000_000)
        for step, value in enumerate(values, start=first_step)
    ]
    record_metrics(run, points)


def test_summary_has_last_minimum_maximum_and_count():
    run = RunFactory()
    record(run, "train_loss", [2.0, 4.0, 1.0, 3.0])

    [summary] = reading.summaries(run)

    assert summary == reading.MetricSummary(
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
        summaries = reading.summaries(run)

    assert [summary.key for summary in summaries] == ["eval_loss", "train_loss"]


def test_summary_ignores_nan_in_minimum_and_maximum():
    run = RunFactory()
    record(run, "train_loss", [1.0, math.nan])

    [summary] = reading.summaries(run)

    assert (summary.minimum, summary.maximum) == (1.0, 1.0)
    assert math.isnan(summary.last_value)


def test_metrics_of_several_runs_take_one_query(django_assert_num_queries):
    one, other = RunFactory(), RunFactory()
    record(one, "train_loss", [2.0, 4.0, 1.0, 1.0, 3.0])
    record(one, "accuracy", [0.5])
    record(other, "train_loss", [5.0])

    with django_assert_num_queries(1):
        found = reading.run_metrics([one.pk, other.pk], ["train_loss", "missing", "nul\x00"])

    assert found[one.pk] == {
        "train_loss": reading.RunMetric(
            count=5,
            minimum=1.0,
            minimum_step=3,
            maximum=4.0,
            maximum_step=2,
            last_step=5,
            last_timestamp_ms=1_700_000_000_000,
            last_value=3.0,
        )
    }
    assert found[other.pk]["train_loss"].minimum_step == 1


@pytest.mark.parametrize("at", [0, 617, 20_000, 49_999])
def test_step_of_an_extreme_is_found_in_buckets_and_behind_them(at):
    run = RunFactory()
    values = [1.0] * 50_000
    values[at] = 9.0
    record(run, "train_loss", values)
    if at != 49_999:
        record(run, "train_loss", [9.0], first_step=50_001)

    metric = reading.run_metrics([run.pk], ["train_loss"])[run.pk]["train_loss"]

    assert metric.maximum_step == at + 1
    assert metric.minimum_step == (2 if at == 0 else 1)


def test_metric_without_a_number_has_no_extremes():
    run = RunFactory()
    record(run, "train_loss", [math.nan])

    metric = reading.run_metrics([run.pk], ["train_loss"])[run.pk]["train_loss"]

    assert (metric.minimum, metric.minimum_step, metric.maximum_step) == (None, None, None)


def test_series_that_fit_have_every_point(django_assert_num_queries):
    run = RunFactory()
    record(run, "a", [1.0, 2.0])
    record(run, "b", [3.0])

    with django_assert_num_queries(2):
        curves = reading.series(run.pk, ["a", "b"], max_points=2)

    assert [(curve.key, [(p.step, p.value) for p in curve.points]) for curve in curves] == [
        ("a", [(1, 1.0), (2, 2.0)]),
        ("b", [(1, 3.0)]),
    ]
    assert not any(curve.buckets for curve in curves)


def test_series_that_do_not_fit_are_buckets_that_keep_the_spike():
    run = RunFactory()
    values = [1.0] * 1000
    values[617] = 99.0
    record(run, "train_loss", values)

    [curve] = reading.series(run.pk, ["train_loss"], max_points=10)

    assert len(curve.buckets) == 10
    assert not curve.points
    assert max(bucket.maximum for bucket in curve.buckets) == 99.0
    assert (curve.buckets[0].first_step, curve.buckets[-1].last_step) == (1, 1000)


def test_series_of_a_range_that_fits_is_exact():
    run = RunFactory()
    record(run, "train_loss", [float(step) for step in range(1, 1001)])

    [curve] = reading.series(run.pk, ["train_loss"], max_points=10, from_step=500, to_step=509)

    assert [point.value for point in curve.points] == [float(step) for step in range(500, 510)]


def test_series_of_a_wide_range_is_buckets_of_only_that_range():
    run = RunFactory()
    record(run, "train_loss", [float(step) for step in range(1, 1001)])

    [curve] = reading.series(run.pk, ["train_loss"], max_points=10, from_step=101, to_step=300)

    assert (curve.buckets[0].first, curve.buckets[-1].last) == (101.0, 300.0)


@pytest.mark.parametrize("key", ["never_logged", "nul\x00byte"])
def test_series_of_an_unknown_key_is_omitted(key):
    run = RunFactory()

    assert reading.series(run.pk, [key], max_points=10) == []


def test_series_of_other_runs_are_omitted():
    run = RunFactory()
    record(RunFactory(), "train_loss", [1.0])

    assert reading.series(run.pk, ["train_loss"], max_points=10) == []


def test_series_of_a_range_beyond_64_bits_is_readable():
    run = RunFactory()
    record(run, "train_loss", [1.0])

    [curve] = reading.series(
        run.pk, ["train_loss"], max_points=10, from_step=-(10**30), to_step=10**30
    )

    assert len(curve.points) == 1


@pytest.mark.parametrize("max_points", [2, 10])
def test_json_of_a_series_has_nan_and_infinity_as_strings(max_points):
    run = RunFactory()
    record(run, "train_loss", [1.0, math.nan, math.inf])

    [curve] = reading.series(run.pk, ["train_loss"], max_points=max_points)
    text = orjson.dumps(curve.as_json()).decode()

    assert '"NaN"' in text
    assert '"Infinity"' in text


def test_series_over_the_whole_range_of_steps_is_buckets():
    run = RunFactory()
    record(run, "train_loss", [1.0], first_step=-(2**63))
    record(run, "train_loss", [2.0], first_step=2**63 - 1)
    record(run, "train_loss", [3.0], first_step=0)

    [curve] = reading.series(run.pk, ["train_loss"], max_points=2)

    assert [(bucket.first, bucket.last) for bucket in curve.buckets] == [(1.0, 1.0), (3.0, 2.0)]


def test_curve_reads_only_the_buckets_that_it_needs(monkeypatch):
    monkeypatch.setattr(buckets, "POINTS_PER_BUCKET", 2)
    monkeypatch.setattr(database, "PLAN_SECONDS", -1)  # plans made before for small tables
    run = RunFactory()
    record_metrics(run, [Point("loss", step, float(step), step) for step in range(4096)])
    read_before = buckets_read()

    [curve] = reading.series(run.pk, ["loss"], max_points=100)

    assert sum(bucket.count for bucket in curve.buckets) == 4096
    assert buckets_read() - read_before <= 8 * 100


def buckets_read() -> int:
    """Rows of buckets read in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # as for a table that is not tiny
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relname = 'metrics_metricbucket'"
        )
        [count] = cursor.fetchone()
    return count
