"""The course of metrics in a few columns."""

import math

import pytest

from metrics.points import Point
from metrics.recording import record_metrics
from metrics.sparklines import Column, sparklines
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


def test_short_series_has_a_column_for_each_point():
    run = RunFactory()
    record_metrics(run, [Point("loss", step, value, 0) for step, value in ((1, 3.0), (2, 2.0))])

    assert sparklines([(run.pk, "loss")]) == {
        (run.pk, "loss"): [Column(3.0, 3.0, 3.0), Column(2.0, 2.0, 2.0)]
    }


def test_long_series_keeps_its_spike_and_its_last_value():
    run = RunFactory()
    values = [100.0 if step == 4321 else float(step % 7) for step in range(10_000)]
    record_metrics(run, [Point("loss", step, value, 0) for step, value in enumerate(values)])

    columns = sparklines([(run.pk, "loss")], columns=20)[run.pk, "loss"]

    assert len(columns) == 20
    assert max(column.maximum for column in columns) == 100.0
    assert columns[-1].last == values[-1]


def test_series_of_several_runs_are_read_together(django_assert_num_queries):
    runs = [RunFactory() for _ in range(3)]
    for run in runs:
        record_metrics(run, [Point(key, 1, 1.0, 0) for key in ("a", "b")])

    drawn = sparklines((run.pk, key) for run in runs for key in ("a", "b", "missing"))

    assert drawn.keys() == {(run.pk, key) for run in runs for key in ("a", "b")}


def test_values_that_are_not_finite_are_left_out():
    run = RunFactory()
    points = enumerate((1.0, math.nan, math.inf, 2.0))
    record_metrics(run, [Point("loss", step, value, 0) for step, value in points])

    drawn = sparklines([(run.pk, "loss")])[run.pk, "loss"]

    assert [column.last for column in drawn] == [1.0, 2.0]


@pytest.mark.parametrize("wanted", [[], [("run_none", "loss")], [("run\x00", "loss\x00")]])
def test_what_is_not_there_is_not_drawn(wanted):
    assert sparklines(wanted) == {}
