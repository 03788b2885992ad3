"""Recording metrics, and rewinding them."""

import math

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.numbers import json_number
from logs import appending
from logs.lines import Line
from metrics import recording
from metrics.models import MetricPoint, MetricSeries
from metrics.points import Point, Points
from runs.models import Run
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

    recording.record_metrics(run, [point(1, 3.0), point(2, 1.5), point(3, 2.0)])

    series = series_of(run)
    assert stored(run) == [(1, 3.0), (2, 1.5), (3, 2.0)]
    assert (series.count, series.minimum, series.maximum) == (3, 1.5, 3.0)
    assert (series.last_step, series.last_value) == (3, 2.0)
    assert Run.objects.get(pk=run.pk).metrics == {"train_loss": 2.0}


def test_points_sent_twice_are_stored_once():
    run = RunFactory()
    points = [point(1, 3.0), point(2, 1.5), point(2, 1.5)]

    recording.record_metrics(run, points)
    recording.record_metrics(run, points)

    assert stored(run) == [(1, 3.0), (2, 1.5)]
    assert series_of(run).count == 2


def test_late_point_changes_the_summary_but_not_the_latest_value():
    run = RunFactory()
    recording.record_metrics(run, [point(10, 1.0)])

    recording.record_metrics(run, [point(5, 9.0)])

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
def test_latest_value_has_the_greatest_step_then_time_then_value(earlier, later, order):
    run = RunFactory()
    batches = {
        "in order": [[earlier], [later]],
        "reversed": [[later], [earlier]],
        "at once": [[later, earlier]],
    }[order]

    for batch in batches:
        recording.record_metrics(run, batch)

    assert run.metrics["train_loss"] == json_number(later.value)


@pytest.mark.parametrize("values", [[3.0, 1.0], [1.0, 3.0, 1.0, 2.0], [NAN, 1.0], [1.0, NAN]])
def test_last_reported_of_several_values_at_one_step_and_time_is_the_latest(values):
    run = RunFactory()

    for value in values:
        points = recording.in_order_of_report(run, [point(5, value, at=1_000)])
        recording.record_metrics(run, points)

    assert run.metrics["train_loss"] == json_number(values[-1])


def test_values_of_other_steps_and_times_keep_their_times():
    run = RunFactory()
    recording.record_metrics(run, [point(5, 1.0, at=10_000)])
    points = [point(4, 2.0, at=10_000), point(5, 2.0, at=10_001), point(5, 3.0, at=1)]

    assert recording.in_order_of_report(run, points) == points


def test_infinities_count_for_minimum_and_maximum_and_nan_does_not():
    run = RunFactory()

    recording.record_metrics(run, [point(1, NAN), point(2, INF), point(3, -INF), point(4, NAN)])

    series = series_of(run)
    assert (series.count, series.minimum, series.maximum) == (4, -INF, INF)
    assert math.isnan(series.last_value)
    assert run.metrics == {"train_loss": "NaN"}


def test_series_of_only_nan_has_no_minimum_and_maximum():
    run = RunFactory()

    recording.record_metrics(run, [point(1, NAN)])
    recording.record_metrics(run, [point(1, NAN)])

    series = series_of(run)
    assert (series.count, series.minimum, series.maximum) == (1, None, None)


def test_infinities_are_strings_in_the_runs_metrics():
    run = RunFactory()

    recording.record_metrics(run, [point(1, INF, key="a"), point(1, -INF, key="b")])

    assert run.metrics == {"a": "Infinity", "b": "-Infinity"}


def steps_reached(run, *batches):
    reached = []
    for batch in batches:
        recording.record_metrics(run, batch)
        reached.append(run.step)
    return reached


LOSSES = [point(step, 1.0) for step in range(1, 401)]
MANY_BY_TOKENS = [point(10**9 + n, 1.0, key="loss_by_tokens") for n in range(11)]
BY_TOKENS = point(10**9, 1.0, key="loss_by_tokens")


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([LOSSES, [BY_TOKENS]], [400, 400]),
        ([[*LOSSES, BY_TOKENS]], [400]),
        ([[BY_TOKENS], LOSSES], [10**9, 400]),
        ([[BY_TOKENS], [point(1, 1.0)], [point(2, 1.0)]], [10**9, 1, 2]),
        ([LOSSES[:5], MANY_BY_TOKENS], [5, 5]),
        ([MANY_BY_TOKENS, *([it] for it in LOSSES[:4])], [10**9 + 10] * 3 + [3, 4]),
    ],
    ids=[
        "after",
        "at once",
        "before",
        "before a step",
        "with more points",
        "with more points before",
    ],
)
def test_metric_with_an_axis_of_tokens_does_not_advance_the_run(batches, expected):
    run = RunFactory(recipe=None, total_steps=None)

    assert steps_reached(run, *batches) == expected


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([LOSSES, [BY_TOKENS]], [400, 400]),
        ([[BY_TOKENS], LOSSES], [0, 400]),
        ([[point(50, 1.0)], MANY_BY_TOKENS], [50, 50]),
        ([[point(50, 1.0)], [point(9000, 1.0, key="by_tokens")]], [50, 50]),
    ],
    ids=["after", "before", "with more points", "near"],
)
def test_axis_of_tokens_does_not_advance_a_run_of_known_length(batches, expected):
    run = RunFactory(recipe=None, total_steps=1000)

    assert steps_reached(run, *batches) == expected
    assert Run.objects.get(pk=run.pk).progress == expected[-1] / 1000


def test_axis_of_tokens_that_is_reported_more_often_does_not_advance_a_run_of_known_length():
    run = RunFactory(recipe=None, total_steps=100)
    tokens = [point(9 * step, 1.0, key="by_tokens") for step in range(1, 101)]

    assert steps_reached(run, [point(step, 1.0) for step in range(10, 101, 10)], tokens)[-1] == 100


def test_training_that_is_longer_than_planned_goes_on():
    run = RunFactory(recipe=None, total_steps=3)
    epochs = [point(1, 1.0, key="at_start")]

    assert steps_reached(run, epochs, *([it] for it in LOSSES[:50]))[-1] == 50


def test_training_beyond_the_step_that_is_far_goes_on():
    """As of reinforcement learning, which counts frames; some metrics end early."""
    run = RunFactory(recipe=None, total_steps=None)
    early = [point(step, 1.0, key="warmup") for step in range(1, 10)]
    frames = [[point(1_000_000 * n, 1.0)] for n in range(1, 16)]

    assert steps_reached(run, early, *frames)[-1] == 15_000_000


@pytest.mark.parametrize(("total", "per_step"), [(None, 3_000_000), (100, 50)])
def test_other_axis_that_was_near_at_first_does_not_keep_the_run_there(total, per_step):
    run = RunFactory(recipe=None, total_steps=total)
    both = [[point(n, 1.0), point(per_step * n, 1.0, key="by_tokens")] for n in range(1, 6)]

    assert steps_reached(run, *both)[-1] == 5


def test_far_step_that_most_points_have_is_the_runs():
    run = RunFactory(recipe=None, total_steps=None)
    frames = [point(10**8 + step, 1.0) for step in range(10)]

    assert steps_reached(run, [point(1, 1.0, key="parameters")], frames) == [1, 10**8 + 9]


def test_step_of_a_checkpoint_without_one_is_not_that_of_another_axis():
    run = RunFactory(total_steps=None)
    recording.record_metrics(run, [*LOSSES, BY_TOKENS])

    assert recording.step_at(run, 10_000) == 400


def test_rewinding_keeps_what_another_axis_had_reached_by_then():
    run = RunFactory(total_steps=None)
    tokens = [point(10**9 * step, 1.0, key="by_tokens", at=step) for step in range(1, 11)]
    losses = [point(step, 1.0, at=step) for step in range(1, 11)]
    recording.record_metrics(run, [*losses, *tokens])

    deleted = recording.rewind(run, 4)

    assert (deleted, run.step) == (12, 4)
    assert [step for step, _value in stored(run, "by_tokens")] == [10**9 * n for n in range(1, 5)]
    assert (series_of(run, "by_tokens").count, series_of(run).last_step) == (4, 4)
    assert recording.rewind(run, 0) == 8


def test_planned_steps_near_the_limit_do_not_overflow():
    run = RunFactory(total_steps=2**63 - 1)

    assert steps_reached(run, [point(2**63 - 1, 1.0)]) == [2**63 - 1]


@pytest.mark.parametrize(
    ("value", "share"), [(85.0, 0.85), (1.0, 1.0), (8500.0, None), (-1.0, None)]
)
def test_gpu_utilization_above_one_is_shown_as_percent(value, share):
    run = RunFactory()

    recording.record_metrics(run, [point(1, value, key="gpu_utilization")])

    assert Run.objects.get(pk=run.pk).gpu_utilization == share


def test_gpu_utilization_is_shown_on_the_run_itself():
    run = RunFactory()

    recording.record_metrics(run, [point(1, 0.83, key="gpu_utilization")])
    recording.record_metrics(run, [point(2, NAN, key="gpu_utilization")])

    assert Run.objects.get(pk=run.pk).gpu_utilization == 0.83


def test_query_count_does_not_depend_on_the_batch_size(django_assert_num_queries):
    run = RunFactory(total_steps=1000)
    recording.record_metrics(run, [point(0, 1.0, key=key) for key in "abc"])

    # one statement stores the batch, one refreshes the run
    with django_assert_num_queries(2):
        recording.record_metrics(
            run, [point(step, 1.0, key=key) for key in "abc" for step in range(1, 1001)]
        )


def test_run_with_too_many_metrics_is_rejected(monkeypatch):
    monkeypatch.setattr(recording, "MAX_SERIES", 3)
    run = RunFactory()
    recording.record_metrics(run, [point(1, 1.0, key=key) for key in "abc"])

    with pytest.raises(recording.TooManyMetrics):
        recording.record_metrics(run, [point(2, 1.0, key=key) for key in "cd"])
    recording.record_metrics(run, [point(2, 2.0, key=key) for key in "abc"])

    assert set(run.metrics) == {"a", "b", "c"}
    assert set(run.metrics.values()) == {2.0}


def test_empty_batch_takes_no_queries(django_assert_num_queries):
    run = RunFactory()

    with django_assert_num_queries(0):
        recording.record_metrics(run, [])
        appending.append_log(run, [])


@with_two_connections
def test_concurrent_clients_create_a_new_series_once():
    run = RunFactory()

    def report(first):
        with transaction.atomic():
            locked = Run.objects.lock(run.pk)
            recording.record_metrics(locked, [point(first + n, 1.0) for n in range(50)])

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
    """A key with PostgreSQL's equality: NaN equals NaN, and 0.0 equals -0.0."""
    value = "NaN" if math.isnan(item.value) else item.value + 0.0
    return item.key, item.step, item.timestamp_ms, value


def order(item):
    """A sort key in which NaN is greater than any number, as in PostgreSQL."""
    return item.step, item.timestamp_ms, math.isnan(item.value), item.value


@given(batches=batches)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_batches_in_any_order_store_exactly_the_set_of_points(batches):
    with transaction.atomic():
        run = RunFactory()
        for batch in batches:
            recording.record_metrics(run, batch)
        recording.record_metrics(run, [item for batch in batches for item in batch])

        expected = {identity(item): item for batch in batches for item in batch}
        stored_keys = {
            identity(Point(key, step, value, at))
            for key, step, value, at in MetricPoint.objects.filter(series__run=run).values_list(
                "series__key", "step", "value", "timestamp_ms"
            )
        }
        assert stored_keys == expected.keys()
        for series in run.series.all():
            of_key = [item for item in expected.values() if item.key == series.key]
            numbers = [item.value for item in of_key if not math.isnan(item.value)]
            last = max(of_key, key=order)
            assert series.count == len(of_key)
            assert series.minimum == min(numbers, default=None)
            assert series.maximum == max(numbers, default=None)
            assert (series.last_step, series.last_timestamp_ms) == (last.step, last.timestamp_ms)
            assert repr(series.last_value + 0.0) == repr(last.value + 0.0)
            assert run.metrics[series.key] == json_number(series.last_value)


# --- rewind ----------------------------------------------------------------------------------


def test_rewind_deletes_later_points_and_updates_the_summaries():
    run = RunFactory(step=30, progress=0.3)
    recording.record_metrics(run, [point(step, float(step)) for step in (10, 20, 30)])
    recording.record_metrics(run, [point(30, 0.5, key="eval_loss")])

    deleted = recording.rewind(run, 20)

    run.refresh_from_db()
    series = series_of(run)
    assert deleted == 2
    assert stored(run) == [(10, 10.0), (20, 20.0)]
    assert (series.count, series.minimum, series.maximum) == (2, 10.0, 20.0)
    assert (series.last_step, series.last_value) == (20, 20.0)
    assert run.metrics == {"train_loss": 20.0}
    assert (run.step, run.progress) == (20, 0.2)
    assert series_of(run, "eval_loss").count == 0


def test_rewind_keeps_other_runs_and_the_log():
    run, other = RunFactory(step=30), RunFactory()
    recording.record_metrics(run, [point(30, 1.0)])
    recording.record_metrics(other, [point(30, 1.0)])
    appending.append_log(run, [Line.new("it was printed")])

    recording.rewind(run, 0)

    assert stored(other) == [(30, 1.0)]
    assert run.log_lines.count() == 1


def test_points_reported_again_after_a_rewind_are_stored():
    run = RunFactory(step=30)
    recording.record_metrics(run, [point(10, 1.0), point(20, 5.0)])
    recording.rewind(run, 10)

    recording.record_metrics(run, [point(20, 4.0)])

    series = series_of(run)
    assert stored(run) == [(10, 1.0), (20, 4.0)]
    assert (series.count, series.maximum, series.last_value) == (2, 4.0, 4.0)


def test_rewinding_to_the_start_deletes_its_step_too():
    run = RunFactory(start_step=20, step=30)
    samples = point(0, 1.0, key="system/cpu_utilization_percentage")
    recording.record_metrics(run, [point(0, 9.0, key="parameters"), point(20, 3.0), samples])
    recording.record_metrics(run, [point(30, 1.0)])

    assert recording.rewind_to_start(run) == 3

    assert (run.step, list(run.metrics)) == (20, [samples.key])
    recording.record_metrics(run, [point(20, 2.0, at=1), point(21, 1.0, at=2)])
    assert stored(run) == [(20, 2.0), (21, 1.0)]
    assert steps_of_samples(run) == [0]


def steps_of_samples(run):
    return [step for step, _value in stored(run, "system/cpu_utilization_percentage")]


@pytest.mark.parametrize("step", [0, 40])
def test_step_that_two_attempts_reported_is_there_once(step):
    run = RunFactory(step=50)
    recording.record_metrics(run, [point(step, 1.0, at=5), point(50, 2.0, at=6)])
    recording.rewind(run, step)

    for at in (1, 5, 9):  # whatever the clock of the next attempt's host says
        recording.record_metrics(run, [point(step, 0.9, at=at)])
    recording.record_metrics(run, [point(step + 1, 0.8, at=1)])

    assert stored(run) == [(step, 1.0), (step + 1, 0.8)]
    assert series_of(run).count == 2


def test_metric_without_steps_has_the_next_attempts_value():
    run = RunFactory(step=50)
    recording.record_metrics(run, [point(50, 1.0), point(0, 0.5, key="best")])
    recording.rewind(run, 40)

    recording.record_metrics(run, [point(0, 0.9, key="best", at=9)])

    assert stored(run, "best") == [(0, 0.5), (0, 0.9)]
    assert series_of(run, "best").last_value == 0.9


def test_values_at_an_early_step_that_one_attempt_reported_are_all_kept():
    run = RunFactory(step=50)
    recording.record_metrics(run, [point(40, 1.0), point(50, 1.0)])
    recording.record_metrics(run, [point(30, 1.0, key="rare"), point(40, 1.0, key="rare")])
    recording.rewind(run, 40)

    for value in (0.9, 0.8, 0.7):
        recording.record_metrics(run, [point(40, value, key="new_eval", at=3)])
        recording.record_metrics(run, [point(35, value, key="rare", at=3)])

    assert stored(run, "new_eval") == [(40, 0.7), (40, 0.8), (40, 0.9)]
    assert stored(run, "rare") == [(30, 1.0), *((35, v) for v in (0.7, 0.8, 0.9)), (40, 1.0)]
    assert run.metrics["new_eval"] == 0.9


def test_further_values_at_a_step_of_an_earlier_attempt_are_kept():
    """As folds, or a metric without steps, all of which is at step 0."""
    run = RunFactory(step=50)
    recording.record_metrics(run, [point(0, 1.0), point(50, 1.0)])
    recording.record_metrics(run, [point(0, v, key="folds", at=1) for v in (0.5, 0.6)])
    recording.rewind(run, 40)

    again = [(1.1, 2), (1.2, 3), (1.3, 4)]
    for value, at in [*again, *again]:  # each is sent twice
        recording.record_metrics(run, [point(0, value, at=at)])
    recording.record_metrics(run, [point(0, v, key="folds", at=2) for v in (0.6, 0.7)])

    assert stored(run) == [(0, 1.0), (0, 1.2), (0, 1.3)]
    assert stored(run, "folds") == [(0, 0.5), (0, 0.6), (0, 0.7)]


def test_third_attempt_repeats_what_the_second_has_reported():
    run = RunFactory(step=50)
    recording.record_metrics(run, [point(50, 1.0)])
    recording.rewind(run, 40)
    recording.record_metrics(run, [point(30, 0.9, at=1), point(60, 0.9, at=1)])
    recording.rewind(run, 40)

    recording.record_metrics(run, [point(30, 0.8, at=2), point(60, 0.8, at=2)])

    assert stored(run) == [(30, 0.9), (60, 0.8)]


def test_deleted_points_are_in_no_summary():
    run = RunFactory()
    points = [point(step, float(step)) for step in range(2000)]
    recording.record_metrics(run, points)

    deleted = recording.delete_points(run, Points.of([*points[5::2], point(7, 1.0)]))

    series = series_of(run)
    assert deleted == 998
    assert [step for step, _value in stored(run)] == [0, 1, 2, 3, 4, *range(6, 2000, 2)]
    assert (series.count, series.maximum, series.last_step) == (1002, 1998.0, 1998)
    assert run.metrics == {"train_loss": 1998.0}
