"""Numbers among reported values."""

import math

import pytest

from metrics.values import MAX_DEPTH, flat, number, whole_number


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1.0),
        (True, 1.0),
        (" 2.5 ", 2.5),
        (".5e1", 5.0),
        ("-inf", -math.inf),
        ("1e999", math.inf),
    ],
)
def test_number_may_be_text(value, found):
    assert number(value) == found


@pytest.mark.parametrize("value", [None, "", "1_0", "\u0661", [1], {}, 10**400])
def test_all_else_is_no_number(value):
    assert number(value) is None


@pytest.mark.parametrize(
    "value", [7, 7.0, "7", " 7 ", "7.0", "0.7e1"], ids=lambda value: f"{value!r}"
)
def test_whole_number_may_have_any_form(value):
    assert whole_number(value) == 7


def test_large_whole_number_is_exact():
    assert whole_number("9007199254740993") == 9_007_199_254_740_993


@pytest.mark.parametrize("value", [None, True, 7.5, "7.5", "nan", math.inf, "9" * 5000, [7]])
def test_all_else_is_no_whole_number(value):
    assert whole_number(value) is None


def test_nested_objects_are_flattened_to_a_depth():
    deep = {"x": 1}
    for _ in range(MAX_DEPTH):
        deep = {"x": deep}

    assert list(flat({"a": {"b": 1, "c": {}}, "d": [2]})) == [("a.b", 1), ("a.c", {}), ("d", [2])]
    assert list(flat(deep)) == [(".".join("x" * MAX_DEPTH), {"x": 1})]
