"""Appending log lines."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from logs import appending
from logs.lines import Line
from logs.models import LogLine
from runs.models import Run
from tests.concurrency import in_parallel
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def test_lines_get_the_runs_next_numbers():
    run = RunFactory()

    appending.append_log(run, [Line.new("a"), Line.new("b")])
    appending.append_log(run, [Line.new("c", level="ERROR", source="stderr")])

    lines = list(LogLine.objects.filter(run=run).order_by("seq"))
    assert [(line.seq, line.message) for line in lines] == [(1, "a"), (2, "b"), (3, "c")]
    assert (lines[2].level, lines[2].source) == ("ERROR", "stderr")
    assert Run.objects.get(pk=run.pk).log_count == 3


def test_line_keeps_its_timestamp():
    run = RunFactory()
    at = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)

    appending.append_log(run, [Line.new("第 500 步", timestamp=at)])

    assert run.log_lines.get().timestamp == at


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("a\x00b", "a�b"),
        ("half \ud83d", "half �"),
        ("tab\tand \\N and\nnewline", "tab\tand \\N and\nnewline"),
        ("x" * 40_000, "x" * (40_000 - 8_024) + "… [8,024 characters cut]"),
    ],
    ids=["NUL", "lone surrogate", "characters that COPY escapes", "too long"],
)
def test_unstorable_text_is_replaced(message, kept):
    run = RunFactory()

    appending.append_log(run, [Line.new(message)])

    assert run.log_lines.get().message == kept


@with_two_connections
def test_numbers_stay_dense_with_concurrent_clients():
    run = RunFactory()

    def report(name):
        for _ in range(10):
            with transaction.atomic():
                locked = Run.objects.lock(run.pk)
                appending.append_log(locked, [Line.new(name), Line.new(name)])

    in_parallel(*(lambda name=name: report(name) for name in "abcd"))

    numbers = list(run.log_lines.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, 81))
    assert Run.objects.get(pk=run.pk).log_count == 80
