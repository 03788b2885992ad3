"""Cutting text that is too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logs.cutting import cut


def test_short_text_is_unchanged():
    assert cut("x" * 100, 100) == "x" * 100


def test_mark_says_how_many_characters_are_missing():
    text = cut("x" * 40_000, 32_000)

    assert text.endswith("x… [8,024 characters cut]")
    assert text.count("x") == 40_000 - 8_024


def test_end_is_kept_if_asked():
    text = cut("a" * 1000 + "end", 200, keep_end=3)

    assert text.endswith(" characters cut]end")
    assert len(text) == 200


@given(length=st.integers(0, 3000), limit=st.integers(60, 2000))
def test_cut_text_has_exactly_the_limit(length, limit):
    text = cut("x" * length, limit)

    assert len(text) == min(length, limit)
    if length > limit:
        missing = int(text.rpartition("[")[2].partition(" ")[0].replace(",", ""))
        assert text.count("x") == length - missing


@pytest.mark.parametrize("length", [1_099, 1_100, 10_098, 10_099])
def test_mark_whose_own_length_changes_the_number_is_right(length):
    assert len(cut("x" * length, 100)) == 100
