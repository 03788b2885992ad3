"""Numbers of a column as text."""

import math

import pytest

from dashboard.run_table.cells import aligned, given, halves, spreads
from dashboard.run_table.query import Spread


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.23456, 12.3456], ["1.23", "12.35"]),
        ([0.00012, 0.01], ["0.00012", "0.01000"]),
        ([1.0, 200.0], ["1", "200"]),
        ([2.5e-9, 1.0], ["2.500e-9", "1.000e0"]),
        ([123456789.5], ["1.235e8"]),
        ([None, 1.5], ["–", "1.500"]),
        ([math.nan, math.inf, -math.inf, 2.0], ["NaN", "Infinity", "-Infinity", "2"]),
        ([0.0, 0.0], ["0", "0"]),
        ([-0.5, 0.25], ["-0.5000", "0.2500"]),
        ([], []),
    ],
)
def test_numbers_of_a_column_have_the_same_decimals(values, texts):
    assert aligned(values) == texts


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0001, 7e-5, 0.00015], ["1.0e-4", "7.0e-5", "1.5e-4"]),
        ([0.1, 0.05, 0.0], ["0.10", "0.05", "0"]),
        ([8, 16, None], ["8", "16", "–"]),
        ([1234567890, 2], ["1234567890", "2"]),
        ([8, 0.5], ["8.0", "0.5"]),
        ([1e-5, 1.0], ["1e-5", "1e0"]),
        ([0.123456789, 0.5], ["0.123457", "0.500000"]),
        ([-0.25, 1.5], ["-0.25", "1.50"]),
        ([0.0, None], ["0", "–"]),
    ],
)
def test_hyperparameters_of_a_column_have_one_notation(values, texts):
    assert given(values) == texts


def test_spread_is_mean_and_deviation_with_extremes_in_its_title():
    cells = spreads(
        [Spread(1.5, 0.25, 1, 2), Spread(None, None, None, None), Spread(3, None, 3, 3)]
    )

    assert [cell.text for cell in cells] == ["1.500 ± 0.250", "–", "3.000"]
    assert "1" in cells[0].title
    assert "2" in cells[0].title


def test_deviation_of_whole_means_has_its_digits():
    assert spreads([Spread(2, 1.41421, 1, 3)])[0].text == "2.000 ± 1.414"


def test_long_names_keep_their_end():
    assert halves("short") == ("short", "")
    assert halves("sft-qwen2.5-7b-lr0.0001-bs16-seed2") == (
        "sft-qwen2.5-7b-lr0.0001-",
        "bs16-seed2",
    )
