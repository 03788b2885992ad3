"""The table of metrics."""

import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from dashboard.comparison.summary import Cell, Stat, ranked, summary_row
from metrics.goals import Direction


@dataclass(frozen=True)
class Metric:
    minimum: float | None
    minimum_step: int | None
    maximum: float | None
    maximum_step: int | None
    last_value: float
    last_step: int


def metric(*values):
    finite = [value for value in values if not math.isnan(value)]
    low, high = (min(finite), max(finite)) if finite else (None, None)
    return Metric(
        minimum=low,
        minimum_step=None if low is None else values.index(low),
        maximum=high,
        maximum_step=None if high is None else values.index(high),
        last_value=values[-1],
        last_step=len(values) - 1,
    )


METRICS = st.lists(
    st.none()
    | st.lists(st.floats(allow_infinity=False), min_size=1, max_size=5).map(
        lambda values: metric(*values)
    ),
    min_size=1,
    max_size=6,
)
DIRECTIONS = st.sampled_from([Direction.LOWER, Direction.HIGHER, None])


def row(metrics, stat=Stat.BEST, direction=Direction.LOWER, baseline=0):
    return summary_row("m", stat, metrics, direction=direction, baseline=baseline)


@given(METRICS, st.sampled_from(list(Stat)), DIRECTIONS, st.data())
def test_no_run_is_better_than_the_best(metrics, stat, direction, data):
    baseline = data.draw(st.integers(0, len(metrics) - 1))
    cells = row(metrics, stat, direction, baseline).cells

    finite = [cell.value for cell in cells if cell.value is not None and math.isfinite(cell.value)]
    for cell in cells:
        if cell.is_best:
            assert cell.value == (min if direction is Direction.LOWER else max)(finite)
            assert len(set(finite)) > 1


@given(METRICS, st.sampled_from(list(Stat)), DIRECTIONS, st.data())
def test_baseline_is_neither_better_nor_worse_than_itself(metrics, stat, direction, data):
    baseline = data.draw(st.integers(0, len(metrics) - 1))
    cell = row(metrics, stat, direction, baseline).cells[baseline]

    assert cell.delta is None
    assert cell.is_better is None


@given(METRICS, st.booleans())
def test_ranking_has_every_run_once_and_those_without_a_value_last(metrics, descending):
    cells = row(metrics, Stat.LAST).cells
    places = ranked(cells, descending=descending)

    assert sorted(places) == list(range(len(cells)))
    values = [cells[place].value for place in places]
    known = [value for value in values if value is not None and math.isfinite(value)]
    assert values[: len(known)] == sorted(known, reverse=descending)


def test_best_of_a_loss_is_its_minimum_with_the_step():
    cells = row([metric(3.0, 1.0, 2.0), metric(3.0, 2.5)]).cells

    assert [(cell.value, cell.step, cell.is_best) for cell in cells] == [
        (1.0, 1, True),
        (2.5, 1, False),
    ]
    assert (cells[1].delta.value, cells[1].delta.share, cells[1].is_better) == (1.5, 1.5, False)


def test_best_of_an_accuracy_is_its_maximum():
    cells = row([metric(0.1, 0.9, 0.5), metric(0.95)], direction=Direction.HIGHER).cells

    assert [cell.value for cell in cells] == [0.9, 0.95]
    assert cells[1].is_best
    assert cells[1].is_better


def test_best_of_what_has_no_direction_is_its_last_and_marks_no_run():
    cells = row([metric(1.0, 2.0), metric(5.0)], direction=None).cells

    assert [cell.value for cell in cells] == [2.0, 5.0]
    assert not any(cell.is_best for cell in cells)


def test_all_runs_that_share_the_best_value_are_marked():
    assert [cell.is_best for cell in row([metric(1.0), metric(2.0), metric(1.0)]).cells] == [
        True,
        False,
        True,
    ]


def test_nan_is_never_the_best():
    cells = row([metric(math.nan), metric(2.0), metric(3.0)], Stat.LAST).cells

    assert [cell.is_best for cell in cells] == [False, True, False]


def test_run_without_the_metric_has_an_empty_cell():
    assert row([metric(1.0), None]).cells[1] == Cell(None)
