"""Events of preemptions that are stored already."""

from importlib import import_module

import pytest
from django.db import connection

from runs.interruptions import is_preemption, preemption, preemption_by_another_project
from runs.models import EventKind
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


def preempted_by(run, **fields):
    victim = RunFactory(**fields)
    return victim.note(EventKind.STOP_REQUESTED, reason=preemption(run.pk, 5))


def test_migration_hides_the_runs_of_other_projects_alone():
    run = RunFactory()
    by_stranger, by_own = preempted_by(run), preempted_by(run, project=run.project)
    other = by_stranger.run.note(EventKind.STOP_REQUESTED, reason="cancel")

    with connection.cursor() as cursor:
        cursor.execute(import_module("runs.migrations.0032_preemptions_by_other_projects").SQL)

    for event in (by_stranger, by_own, other):
        event.refresh_from_db()
    assert by_stranger.reason == preemption_by_another_project(5)
    assert is_preemption(by_stranger.reason)
    assert by_own.reason == preemption(run.pk, 5)
    assert other.reason == "cancel"
