"""What a search space may be, and the points of a grid."""

import pytest
from django.utils.translation import override

from sweeps.spaces import InvalidSpace, check_space, grid_of


def refusal(space, *, is_grid=False):
    with override("en"), pytest.raises(InvalidSpace) as caught:
        check_space(space, is_grid=is_grid)
    return str(caught.value)


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        (3, "a JSON object is expected."),
        ({}, "the type must be one of float, int, categorical."),
        ({"type": ["float"]}, "the type must be one of float, int, categorical."),
        ({"type": "float", "low": 0}, "high must be a finite number."),
        ({"type": "float", "low": 0, "high": float("inf")}, "high must be a finite number."),
        ({"type": "float", "low": 0, "high": 1e301}, "high must be a finite number."),
        ({"type": "float", "low": 0, "high": True}, "high must be a finite number."),
        ({"type": "float", "low": 2, "high": 1}, "low must not be above high."),
        ({"type": "float", "low": 0, "high": 1, "log": True}, "with log, low must be above 0."),
        ({"type": "float", "low": 0, "high": 1, "log": 1}, "log must be true or false."),
        ({"type": "float", "low": 0, "high": 1, "step": 0}, "step must be above 0."),
        (
            {"type": "float", "low": 0, "high": 1, "step": 0.3},
            "high must be low plus a whole number of steps.",
        ),
        (
            {"type": "float", "low": 0, "high": 1e300, "step": 1e-300},
            "high must be low plus a whole number of steps.",
        ),
        (
            {"type": "float", "low": 1, "high": 2, "step": 0.5, "log": True},
            "log and step exclude each other.",
        ),
        ({"type": "int", "low": 1.5, "high": 3}, "low must be a whole number."),
        ({"type": "int", "low": 1, "high": 2**60}, "high must be a finite number."),
        (
            {"type": "int", "low": 1, "high": 3, "choices": [1]},
            "unknown key: choices. Known: high, log, low, step, type.",
        ),
        (
            {"type": "int", "low": 1, "high": 3, "count": 2},
            "unknown key: count. Known: high, log, low, step, type.",
        ),
        ({"type": "categorical"}, "choices must be a list of 1 to 1000 values."),
        ({"type": "categorical", "choices": []}, "choices must be a list of 1 to 1000 values."),
        (
            {"type": "categorical", "choices": [[1]]},
            "a choice must be a text, a finite number, true, false or null.",
        ),
        ({"type": "categorical", "choices": [1, True]}, "two choices are equal."),
    ],
)
def test_domain_is_refused_with_its_name_and_why(domain, why):
    assert refusal({"x": domain}) == f"x: {why}"


@pytest.mark.parametrize("space", [None, [], {}, "x", {f"x{n}": {} for n in range(51)}])
def test_space_is_an_object_with_a_name_or_more(space):
    assert refusal(space) == "A search space must be a JSON object with 1 to 50 names."


@pytest.mark.parametrize(
    "domain",
    [
        {"type": "float", "low": 8, "high": 64},
        {"type": "int", "low": 0, "high": 64},
        {"type": "categorical", "choices": [8, "many"]},
    ],
)
def test_values_that_every_run_would_refuse_are_refused(domain):
    assert refusal({"batch_size": domain}).startswith("batch_size must be a number in")


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        ({"type": "float", "low": 0, "high": 1}, "a grid needs a count or a step of a float."),
        ({"type": "int", "low": 0, "high": 10**6}, "a grid takes at most 5000 values."),
        (
            {"type": "float", "low": 0, "high": 1, "count": 0},
            "count must be a whole number from 1 to 5000.",
        ),
        (
            {"type": "int", "low": 0, "high": 9, "step": 3, "count": 2},
            "count and step exclude each other.",
        ),
    ],
)
def test_range_without_a_number_of_values_makes_no_grid(domain, why):
    assert refusal({"x": domain}, is_grid=True) == f"x: {why}"


def test_grid_of_too_many_points_is_refused():
    space = {name: {"type": "int", "low": 1, "high": 100} for name in "xy"}

    why = "The grid has 10000 points; at most 5000 are possible."
    assert refusal(space, is_grid=True) == why


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        ({"type": "float", "low": 0, "high": 1, "step": 0.1},
         [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ({"type": "float", "low": 0, "high": 1, "count": 3}, [0.0, 0.5, 1.0]),
        ({"type": "float", "low": 2, "high": 5, "count": 1}, [2.0]),
        ({"type": "int", "low": 8, "high": 32, "step": 8}, [8, 16, 24, 32]),
        ({"type": "int", "low": 1, "high": 3}, [1, 2, 3]),
        ({"type": "int", "low": 1, "high": 2, "count": 9}, [1, 2]),
        ({"type": "categorical", "choices": ["a", None, 2]}, ["a", None, 2]),
    ],
)  # fmt: skip
def test_values_of_a_grid(domain, values):
    assert grid_of(check_space({"x": domain}, is_grid=True)) == {"x": values}


def test_values_with_log_have_equal_ratios_and_exact_ends():
    domain = {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "count": 4}

    values = grid_of(check_space({"x": domain}, is_grid=True))["x"]

    assert (values[0], values[-1]) == (1e-5, 1e-2)
    assert values == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])


def test_numbers_get_the_type_of_their_domain():
    domain = {"type": "float", "low": 1, "high": 10}

    checked = check_space({"x": domain, "n": {"type": "int", "low": 1.0, "high": 4}}, is_grid=False)

    assert repr(checked["x"]["low"]) == "1.0"
    assert repr(checked["n"]["low"]) == "1"
