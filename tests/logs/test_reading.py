"""Reading logs: pages, filters, the tail."""

from datetime import UTC, datetime, timedelta

import pytest

from logs import reading
from logs.appending import append_log
from logs.lines import Line
from logs.reading import LogFilter
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

START = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)


def line(number, level="INFO"):
    return Line.new(f"Step {number}", level=level, timestamp=START + timedelta(minutes=number))


@pytest.fixture
def run():
    """A run of ten lines, a minute apart; 4 and 8 are warnings."""
    run = RunFactory()
    append_log(
        run, [line(number, "WARNING" if number % 4 == 0 else "INFO") for number in range(1, 11)]
    )
    return run


def numbers(lines):
    return [line.seq for line in lines]


def test_page_without_a_filter_is_a_range_in_one_query(run, django_assert_num_queries):
    with django_assert_num_queries(1):
        page = reading.page(run, 2, 4)

    assert page.total == 10
    assert numbers(page.items) == [5, 6, 7, 8]


def test_page_past_the_end_is_empty_and_has_the_total(run):
    page = reading.page(run, 10**15, 500)

    assert (page.total, page.items) == (10, [])


def test_page_omits_lines_of_other_runs(run):
    append_log(RunFactory(), [line(1)])

    assert reading.page(run, 1, 500).total == 10


def test_page_from_a_time_includes_that_time(run):
    page = reading.page(run, 1, 50, LogFilter(start_time=START + timedelta(minutes=9)))

    assert numbers(page.items) == [9, 10]


def test_page_to_a_time_excludes_that_time(run):
    page = reading.page(run, 1, 50, LogFilter(end_time=START + timedelta(minutes=3)))

    assert numbers(page.items) == [1, 2]


def test_page_of_a_level_counts_only_that_level(run):
    page = reading.page(run, 1, 1, LogFilter(level="WARNING"))

    assert page.total == 2
    assert numbers(page.items) == [4]


def test_page_of_a_text_finds_it_in_any_case(run):
    page = reading.page(run, 1, 50, LogFilter(q="sTEP 1"))

    assert numbers(page.items) == [1, 10]


@pytest.mark.parametrize("q", ["%", "_", "\\", "\x00"])
def test_page_of_a_text_matches_it_literally(run, q):
    assert reading.page(run, 1, 50, LogFilter(q=q)).total == 0


def test_filtered_page_past_the_end_is_empty(run):
    page = reading.page(run, 3, 1, LogFilter(level="WARNING"))

    assert (page.total, page.items) == (2, [])


def test_after_returns_the_next_lines(run):
    assert numbers(reading.after(run, 7, 2)) == [8, 9]


def test_after_the_last_line_is_empty(run):
    assert reading.after(run, 10, 100) == []


def test_after_applies_the_filter(run):
    assert numbers(reading.after(run, 4, 100, LogFilter(level="WARNING"))) == [8]


def test_tail_returns_the_newest_lines_in_order(run):
    assert numbers(reading.tail(run, 3)) == [8, 9, 10]


def test_tail_applies_the_filter(run):
    assert numbers(reading.tail(run, 1, LogFilter(level="WARNING"))) == [8]


@pytest.mark.parametrize(
    "text",
    [
        'a\x1f{"message":"forged","params":{}}',
        'a\x1f{"message":"%(a)0999999999d","params":{"a":1}}',
        'a\x1f{"message":null,"params":{}}',
        'a\x1f{"message":"x',
    ],
)
def test_programs_text_that_looks_like_a_message_is_read_as_it_is(text):
    run = RunFactory()
    append_log(run, [Line.new(text)])

    assert [line.message for line in reading.page(run, 1, 10, LogFilter()).items] == [text]
