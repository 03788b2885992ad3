"""The write side: metrics, log lines and progress."""

import math
from datetime import UTC, datetime

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runs import ingestion
from runs.ingestion import Line
from runs.models import LogLine, MetricPoint, MetricSeries, Run
from runs.points import Point
from tests.concurrency import in_parallel
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)

NAN, INF = math.nan, math.inf


def point(step, value, *, key="train_loss", at=0):
    return Point(key, step, value, at)


def stored(run, key="train_loss"):
    points = MetricPoint.objects.filter(series__run=run, series__key=key)
    return list(points.order_by("step", "timestamp_ms", "value").values_list("step", "value"))


def series_of(run, key="train_loss"):
    return MetricSeries.objects.get(run=run, key=key)


# --- metrics ---------------------------------------------------------------------------------


def test_points_are_stored_and_summarized():
    run = RunFactory()

    ingestion.record_metrics(run, [point(1, 3.0), point(2, 1.5), point(3, 2.0)])

    series = series_of(run)
    assert stored(run) == [(1, 3.0), (2, 1.5), (3, 2.0)]
    assert (series.count, series.minimum, series.maximum) == (3, 1.5, 3.0)
    assert (series.last_step, series.last_value) == (3, 2.0)
    assert Run.objects.get(pk=run.pk).metrics == {"train_loss": 2.0}


def test_points_sent_twice_are_there_once():
    run = RunFactory()
    points = [point(1, 3.0), point(2, 1.5), point(2, 1.5)]

    ingestion.record_metrics(run, points)
    ingestion.record_metrics(run, points)

    assert stored(run) == [(1, 3.0), (2, 1.5)]
    assert series_of(run).count == 2


def test_a_late_point_changes_the_summary_but_not_the_latest_value():
    run = RunFactory()
    ingestion.record_metrics(run, [point(10, 1.0)])

    ingestion.record_metrics(run, [point(5, 9.0)])

    series = series_of(run)
    assert (series.count, series.maximum, series.last_step) == (2, 9.0, 10)
    assert run.metrics == {"train_loss": 1.0}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (point(1, 9.0, at=9), point(2, 1.0, at=1)),
        (point(2, 9.0, at=1), point(2, 1.0, at=2)),
        (point(2, 1.0, at=1), point(2, 9.0, at=1)),
        (point(2, 9.0, at=1), point(2, NAN, at=1)),
    ],
    ids=["greater step", "greater time", "greater value", "NaN is the greatest value"],
)
@pytest.mark.parametrize("order", ["in order", "reversed", "at once"])
def test_latest_value_is_of_the_greatest_step_then_time_then_value(earlier, later, order):
    run = RunFactory()
    batches = {
        "in order": [[earlier], [later]],
        "reversed": [[later], [earlier]],
        "at once": [[later, earlier]],
    }[order]

    for batch in batches:
        ingestion.record_metrics(run, batch)

    assert run.metrics["train_loss"] == ingestion.json_number(later.value)


def test_nan_and_infinities_are_values_and_only_nan_is_left_out_of_the_extremes():
    run = RunFactory()

    ingestion.record_metrics(run, [point(1, NAN), point(2, INF), point(3, -INF), point(4, NAN)])

    series = series_of(run)
    assert (series.count, series.minimum, series.maximum) == (4, -INF, INF)
    assert math.isnan(series.last_value)
    assert run.metrics == {"train_loss": "NaN"}


def test_a_series_of_nan_alone_has_no_extremes():
    run = RunFactory()

    ingestion.record_metrics(run, [point(1, NAN)])
    ingestion.record_metrics(run, [point(1, NAN)])

    series = series_of(run)
    assert (series.count, series.minimum, series.maximum) == (1, None, None)


def test_infinities_travel_as_text():
    run = RunFactory()

    ingestion.record_metrics(run, [point(1, INF, key="a"), point(1, -INF, key="b")])

    assert run.metrics == {"a": "Infinity", "b": "-Infinity"}


def test_gpu_utilization_is_shown_on_the_run_itself():
    run = RunFactory()

    ingestion.record_metrics(run, [point(1, 0.83, key="gpu_utilization")])
    ingestion.record_metrics(run, [point(2, NAN, key="gpu_utilization")])

    assert Run.objects.get(pk=run.pk).gpu_utilization == 0.83


def test_a_batch_costs_the_same_few_queries_whatever_its_size(django_assert_num_queries):
    run = RunFactory()
    ingestion.record_metrics(run, [point(0, 1.0, key=key) for key in "abc"])

    # all of it in one, and the run at hand is read again
    with django_assert_num_queries(2):
        ingestion.record_metrics(
            run, [point(step, 1.0, key=key) for key in "abc" for step in range(1, 1001)]
        )


def test_run_has_no_end_of_metrics_but_that_of_its_row(monkeypatch):
    monkeypatch.setattr(ingestion, "MAX_SERIES", 3)
    run = RunFactory()
    ingestion.record_metrics(run, [point(1, 1.0, key=key) for key in "abc"])

    with pytest.raises(ingestion.TooManyMetrics):
        ingestion.record_metrics(run, [point(2, 1.0, key=key) for key in "cd"])
    ingestion.record_metrics(run, [point(2, 2.0, key=key) for key in "abc"])

    assert set(run.metrics) == {"a", "b", "c"}
    assert set(run.metrics.values()) == {2.0}


def test_no_points_cost_nothing(django_assert_num_queries):
    run = RunFactory()

    with django_assert_num_queries(0):
        ingestion.record_metrics(run, [])
        ingestion.append_log(run, [])


@with_two_connections
def test_two_reporters_of_one_new_metric_make_one_series():
    run = RunFactory()

    def report(first):
        with transaction.atomic():
            locked = Run.objects.lock(run.pk)
            ingestion.record_metrics(locked, [point(first + n, 1.0) for n in range(50)])

    results = in_parallel(*(lambda first=first: report(first) for first in (0, 25, 50, 75)))

    assert results == [None] * 4
    assert series_of(run).count == len(stored(run)) == 125


values = st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e300, NAN, INF, -INF])
points = st.builds(
    Point,
    key=st.sampled_from(["loss", "acc"]),
    step=st.integers(-3, 5),
    value=values,
    timestamp_ms=st.integers(0, 2),
)
batches = st.lists(st.lists(points, max_size=8), max_size=6)


def identity(item):
    """PostgreSQL's: NaN equals itself, and the zeros each other."""
    value = "NaN" if math.isnan(item.value) else item.value + 0.0
    return item.key, item.step, item.timestamp_ms, value


def order(item):
    """NaN is greater than any number."""
    return item.step, item.timestamp_ms, math.isnan(item.value), item.value


@given(batches=batches)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_batches_in_any_order_store_exactly_the_set_of_points(batches):
    with transaction.atomic():
        run = RunFactory()
        for batch in batches:
            ingestion.record_metrics(run, batch)
        ingestion.record_metrics(run, [item for batch in batches for item in batch])

        expected = {identity(item): item for batch in batches for item in batch}
        found = {
            identity(Point(key, step, value, at)): None
            for key, step, value, at in MetricPoint.objects.filter(series__run=run).values_list(
                "series__key", "step", "value", "timestamp_ms"
            )
        }
        assert found.keys() == expected.keys()
        for series in run.series.all():
            of_key = [item for item in expected.values() if item.key == series.key]
            numbers = [item.value for item in of_key if not math.isnan(item.value)]
            last = max(of_key, key=order)
            assert series.count == len(of_key)
            assert series.minimum == min(numbers, default=None)
            assert series.maximum == max(numbers, default=None)
            assert (series.last_step, series.last_timestamp_ms) == (last.step, last.timestamp_ms)
            assert repr(series.last_value + 0.0) == repr(last.value + 0.0)
            assert run.metrics[series.key] == ingestion.json_number(series.last_value)


# --- rewind ----------------------------------------------------------------------------------


def test_rewind_takes_back_what_came_after_and_summarizes_the_rest():
    run = RunFactory(step=30, progress=0.3)
    ingestion.record_metrics(run, [point(step, float(step)) for step in (10, 20, 30)])
    ingestion.record_metrics(run, [point(30, 0.5, key="eval_loss")])

    taken_back = ingestion.rewind(run, 20)

    run.refresh_from_db()
    series = series_of(run)
    assert taken_back == 2
    assert stored(run) == [(10, 10.0), (20, 20.0)]
    assert (series.count, series.minimum, series.maximum) == (2, 10.0, 20.0)
    assert (series.last_step, series.last_value) == (20, 20.0)
    assert run.metrics == {"train_loss": 20.0}
    assert (run.step, run.progress) == (20, 0.2)
    assert series_of(run, "eval_loss").count == 0


def test_rewind_leaves_other_runs_and_the_log_alone():
    run, other = RunFactory(step=30), RunFactory()
    ingestion.record_metrics(run, [point(30, 1.0)])
    ingestion.record_metrics(other, [point(30, 1.0)])
    ingestion.append_log(run, [Line("it was printed")])

    ingestion.rewind(run, 0)

    assert stored(other) == [(30, 1.0)]
    assert run.log_lines.count() == 1


def test_points_made_again_after_a_rewind_count_anew():
    run = RunFactory(step=30)
    ingestion.record_metrics(run, [point(10, 1.0), point(20, 5.0)])
    ingestion.rewind(run, 10)

    ingestion.record_metrics(run, [point(20, 4.0)])

    series = series_of(run)
    assert stored(run) == [(10, 1.0), (20, 4.0)]
    assert (series.count, series.maximum, series.last_value) == (2, 4.0, 4.0)


# --- log and progress ------------------------------------------------------------------------


def test_lines_get_the_runs_next_numbers():
    run = RunFactory()

    ingestion.append_log(run, [Line("a"), Line("b")])
    ingestion.append_log(run, [Line("c", level="ERROR", source="stderr")])

    lines = list(LogLine.objects.filter(run=run).order_by("seq"))
    assert [(line.seq, line.message) for line in lines] == [(1, "a"), (2, "b"), (3, "c")]
    assert (lines[2].level, lines[2].source) == ("ERROR", "stderr")
    assert Run.objects.get(pk=run.pk).log_count == 3


def test_line_keeps_its_time():
    run = RunFactory()
    at = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)

    ingestion.append_log(run, [Line("第 500 步", timestamp=at)])

    assert run.log_lines.get().timestamp == at


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("a\x00b", "a�b"),
        ("half \ud83d", "half �"),
        ("tab\tand \\N and\nnewline", "tab\tand \\N and\nnewline"),
        ("x" * 40_000, "x" * ingestion.MAX_MESSAGE_LENGTH),
    ],
    ids=["NUL", "half a surrogate pair", "what COPY escapes", "endless"],
)
def test_what_postgresql_cannot_keep_is_replaced(message, kept):
    run = RunFactory()

    ingestion.append_log(run, [Line(message)])

    assert run.log_lines.get().message == kept


@with_two_connections
def test_numbers_stay_dense_with_reporters_at_once():
    run = RunFactory()

    def report(name):
        for _ in range(10):
            with transaction.atomic():
                locked = Run.objects.lock(run.pk)
                ingestion.append_log(locked, [Line(name), Line(name)])

    in_parallel(*(lambda name=name: report(name) for name in "abcd"))

    numbers = list(run.log_lines.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, 81))
    assert Run.objects.get(pk=run.pk).log_count == 80


@pytest.mark.parametrize(
    ("step", "total", "progress"), [(25, 100, 0.25), (150, 100, 1.0), (7, None, 0.4)]
)
def test_progress_is_the_share_of_the_steps_if_their_number_is_known(step, total, progress):
    run = RunFactory(progress=0.4)

    ingestion.report_progress(run, step=step, total_steps=total)

    run.refresh_from_db()
    assert (run.step, run.total_steps, run.progress) == (step, total, progress)
