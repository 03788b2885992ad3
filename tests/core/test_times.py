"""Formatting of times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.times import iso_time, iso_times


@pytest.mark.parametrize(
    ("timestamp_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_704_189_600_123, "2024-01-02T10:00:00.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (-62_135_596_800_001, "+000000-12-31T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
    ],
)
def test_iso_time_formats_the_calendar_date(timestamp_ms, text):
    assert iso_time(timestamp_ms) == text


@given(st.integers(-(2**62), 2**62))
def test_iso_time_round_trips_in_any_year(timestamp_ms):
    text = iso_time(timestamp_ms).removesuffix("Z")

    assert int(np.datetime64(text, "ms").astype(np.int64)) == timestamp_ms


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 2**42)))
def test_iso_times_match_iso_time_of_each(timestamps_ms):
    assert iso_times(timestamps_ms) == [iso_time(timestamp_ms) for timestamp_ms in timestamps_ms]
