"""The columns of parallel coordinates and scatter plots."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.comparison.columns import column, columns_of, grouped
from dashboard.comparison.values import MISSING, same

VALUES = st.lists(
    st.one_of(st.just(MISSING), st.none(), st.integers(0, 3), st.sampled_from(["1", "adamw", ""])),
    min_size=1,
    max_size=8,
)


def test_numbers_and_their_texts_are_a_column_of_numbers():
    found = column("params.lr", "lr", "params", [1e-4, "3e-4", MISSING])

    assert (found.kind, found.values) == ("number", (1e-4, 3e-4, None))
    assert found.spans_scales is False


def test_one_text_makes_it_a_column_of_texts():
    found = column("params.opt", "opt", "params", [1, "adamw", MISSING])

    assert (found.kind, found.values) == ("text", ("1", "adamw", ""))


@pytest.mark.parametrize("value", [math.nan, math.inf, "NaN", "-Infinity"])
def test_what_is_not_finite_is_missing_among_numbers(value):
    found = column("last:loss", "loss", "metrics", [1.5, value])

    assert (found.kind, found.values) == ("number", (1.5, None))


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([1e-5, 1e-3], True),
        ([1, 7], False),
        ([0, 1000], False),
        ([-1, 1000], False),
        (["a"], False),
    ],
)
def test_scale_is_logarithmic_where_positive_numbers_span_decades(values, log):
    assert column("x", "x", "", values).spans_scales is log


def test_every_name_of_any_run_is_a_column():
    found = columns_of("params", "params.", [{"lr": 1, "wd": 0.1}, {"lr": 2, "seed": 1}])

    assert [(one.id, one.label, one.differs) for one in found] == [
        ("params.lr", "lr", True),
        ("params.wd", "wd", True),
        ("params.seed", "seed", True),
    ]


@given(VALUES)
def test_every_run_is_in_one_group_with_all_that_have_its_value(values):
    groups = grouped(values)

    assert sorted(place for _value, places in groups for place in places) == list(
        range(len(values))
    )
    for value, places in groups:
        assert [place for place, other in enumerate(values) if same(value, other)] == places


def test_groups_are_in_the_order_of_their_numbers():
    assert [value for value, _places in grouped([10, "2", "adamw", MISSING, 1])] == [
        1,
        "2",
        10,
        "adamw",
        MISSING,
    ]
