"""Where in a log a time is."""

from datetime import UTC, datetime, timedelta

import pytest

from logs.appending import append_log
from logs.lines import Line
from logs.positions import last_error, line_at
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

START = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)


@pytest.fixture
def run():
    """A log of 3,000 lines, one a second, two of them at the same time."""
    run = RunFactory()
    seconds = [*range(1, 1500), 1500, 1500, *range(1501, 3000)]
    append_log(run, [Line.new(f"{n}", timestamp=START + timedelta(seconds=n)) for n in seconds])
    return run


@pytest.mark.parametrize(
    ("second", "line"),
    [(-100, 1), (1, 1), (2, 2), (1.5, 2), (1499, 1499), (1500, 1500), (1500.5, 1502), (2999, 3000)],
)
def test_line_is_the_first_from_the_time_on(run, second, line):
    assert line_at(run, START + timedelta(seconds=second)) == line


def test_a_time_after_the_log_is_at_its_end(run):
    assert line_at(run, START + timedelta(days=1)) == 3000


def test_an_empty_log_has_no_line():
    assert line_at(RunFactory(), START) == 0


def test_last_error_is_the_last_of_errors_and_critical_lines():
    run = RunFactory()
    levels = ("INFO", "ERROR", "CRITICAL", "INFO", "ERROR", "WARNING")
    append_log(run, [Line.new("x", level) for level in levels])

    assert last_error(run) == 5


def test_log_without_errors_has_no_last_error(run):
    assert last_error(run) is None
