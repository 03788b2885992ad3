"""When two values are the same, and how far apart two numbers are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.comparison.values import (
    FACTOR,
    MISSING,
    delta,
    difference,
    flattened,
    number_of,
    same,
)

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_value_is_the_same_as_itself(value):
    assert same(value, value)


@given(VALUES, VALUES)
def test_sameness_is_mutual(one, other):
    assert same(one, other) == same(other, one)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_is_the_same_as_its_text(number):
    assert same(number, repr(number))


@pytest.mark.parametrize(
    ("one", "other"), [(3e-4, "0.0003"), (1, 1.0), ("1e3", "1000"), ([1, 2], "[1,2]")]
)
def test_other_way_to_write_a_value_is_the_same(one, other):
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (None, MISSING), ("", MISSING), (1, "one"), (0, None), ("a", "A"), ("nan", "x")],
)
def test_other_value_is_not_the_same(one, other):
    assert not same(one, other)


@pytest.mark.parametrize("value", [True, None, "x", math.nan, math.inf, "inf", [], {}, 10**400])
def test_what_is_no_finite_number_has_none(value):
    assert number_of(value) is None


@given(NUMBERS, NUMBERS)
def test_difference_leads_from_the_baseline_to_the_value(value, baseline):
    found = difference(value, baseline)

    if found is None:
        assert number_of(value) == number_of(baseline) or not math.isfinite(
            float(value) - float(baseline)
        )
    else:
        assert found.kind == "difference"
        assert found.value == float(value) - float(baseline)
        assert found.share is None or (found.share > 0) == (found.value > 0) or found.share == 0


@given(NUMBERS, NUMBERS)
def test_delta_is_a_factor_of_positive_numbers_far_apart(value, baseline):
    found = delta(value, baseline)

    if found is not None and found.kind == "factor":
        assert value > 0
        assert baseline > 0
        assert found.value >= FACTOR or 1 / found.value >= FACTOR
        assert found.value == float(value) / float(baseline)


def test_delta_of_a_learning_rate_is_a_factor_and_of_a_seed_a_difference():
    assert delta("3e-4", 3e-5).kind == "factor"
    assert delta("3e-4", 3e-5).value == pytest.approx(10)
    assert (delta(41, 42).kind, delta(41, 42).value) == ("difference", -1)


def test_difference_from_zero_has_no_share():
    assert difference(0.1, 0).share is None


@given(st.dictionaries(st.text(alphabet="abc", min_size=1, max_size=4), VALUES, max_size=4))
def test_flattened_values_hold_no_objects_but_empty_ones_and_deep_ones(values):
    found = flattened(values)

    assert all(not isinstance(value, dict) or not value for value in found.values())


@given(st.dictionaries(st.text(alphabet="abc", min_size=1, max_size=4), SCALARS, max_size=4))
def test_flat_values_stay_as_they_are(values):
    plain = {key: value for key, value in values.items() if not str(value).startswith("{")}

    assert flattened(plain) == plain


def test_nested_values_get_names_with_dots():
    nested = {"optimizer": {"name": "adamw", "betas": [0.9, 0.95]}, "lr": 1, "lora": '{"r": 8}'}

    assert flattened(nested) == {
        "optimizer.name": "adamw",
        "optimizer.betas": [0.9, 0.95],
        "lr": 1,
        "lora.r": 8,
    }


@pytest.mark.parametrize("text", ["{not json", "{'a': 1}", "{}x"])
def test_text_that_only_looks_like_an_object_stays_text(text):
    assert flattened({"a": text}) == {"a": text}
