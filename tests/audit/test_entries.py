"""Entries stay as they are, for a set time."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.models import Entry
from audit.retention import prune
from tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db


def entry(*, days: float = 0) -> Entry:
    return Entry.objects.create(
        at=timezone.now() - timedelta(days=days), action="run.created", kind="run", subject_id="a"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda: Entry.objects.update(actor="somebody else"),
        lambda: Entry.objects.all().delete(),
        lambda: Entry.objects.filter(actor="").update(at=timezone.now()),
    ],
)
def test_entry_is_neither_changed_nor_deleted(change):
    ProjectFactory()

    with pytest.raises(DatabaseError, match="not changed or deleted"), transaction.atomic():
        change()

    assert Entry.objects.exists()


def test_table_is_not_emptied():
    with (
        pytest.raises(DatabaseError, match="not changed or deleted"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SET LOCAL trainhub.audit = ''; TRUNCATE audit_entry")


def test_retention_deletes_what_is_older_than_the_setting(settings):
    settings.AUDIT_DAYS = 30
    kept, _gone = entry(days=29), entry(days=31)

    assert prune() == 1

    assert list(Entry.objects.all()) == [kept]


def test_not_even_retention_deletes_this_week(settings):
    settings.AUDIT_DAYS = 1
    entry(days=6)

    assert prune() == 0
    with (
        pytest.raises(DatabaseError, match="not changed or deleted"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SET LOCAL trainhub.audit = 'retention'; DELETE FROM audit_entry")
