"""Dates and times in filters."""

from datetime import UTC, datetime

import pytest

from dashboard.run_table.address import Address
from dashboard.run_table.query import matching_ids
from dashboard.run_table.times import span
from runs.models import Run
from tests.factories import RunFactory
from tracking.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-11-01", (11, 1, 0, 0, 0), (11, 2, 0, 0, 0)),
        ("2026-11-01+08:00", (10, 31, 16, 0, 0), (11, 1, 16, 0, 0)),
        ("2026-11-28T10:00", (11, 28, 10, 0, 0), (11, 28, 10, 1, 0)),
        ("2026-11-28 10:00:30z", (11, 28, 10, 0, 30), (11, 28, 10, 0, 31)),
        ("2026-11-28T10:00:30-05:00", (11, 28, 15, 0, 30), (11, 28, 15, 0, 31)),
    ],
)
def test_span_is_what_the_text_names(text, start, end):
    assert span(text) == (datetime(2026, *start, tzinfo=UTC), datetime(2026, *end, tzinfo=UTC))


def test_span_of_a_fraction_is_a_millisecond():
    start, end = span("2026-11-28T10:00:30.250")

    assert (start.microsecond, end.microsecond) == (250_000, 251_000)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-02-30", "2026-11-28T25:00", "9999-12-31", "0001-01-01+14:00"),
        *("2026-11-28T10", "٢٠٢٦-11-28", "2026-11-28T10:00+99:00", "2026-11-28" * 1000),
    ],
)
def test_span_of_anything_else_is_none(text):
    assert span(text) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('created > "2026-11-01"', ["after"]),
        ('created >= "2026-11-01"', ["after", "within"]),
        ('created = "2026-11-01"', ["within"]),
        ('created != "2026-11-01"', ["after", "before"]),
        ('created < "2026-11-01T12:00+00:00"', ["before"]),
        ('created <= "2026-11-01T12:00"', ["before", "within"]),
    ],
)
def test_date_in_a_filter_is_the_whole_day(project, condition, found):
    for name, day, hour in (("before", 31, 23), ("within", 1, 12), ("after", 2, 0)):
        run = RunFactory(project=project, name=name)
        month = 10 if day == 31 else 11
        at = datetime(2026, month, day, hour, tzinfo=UTC)
        Run.objects.filter(pk=run.pk).update(created_at=at)

    ids = matching_ids(Run.objects.filter(project=project), Address(filter=condition))

    names = dict(Run.objects.values_list("pk", "name"))
    assert sorted(names[pk] for pk in ids) == found


@pytest.mark.django_db
def test_text_that_is_no_time_is_pointed_at(project):
    with pytest.raises(InvalidParameter) as refused:
        matching_ids(project.runs.all(), Address(filter='step > 1 and started > "soon"'))

    assert refused.value.position == 23
    assert "'soon'" in refused.value.message
