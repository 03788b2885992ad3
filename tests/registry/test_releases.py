"""Which checkpoints of a project are released."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag, DamagedCheckpoint, damage_metadata
from core.messages import Message
from registry.releases import history, in_force, release, tag_in_force
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import ProjectFactory, checkpoint, member_of, running
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return ProjectFactory()


def tagged(project, *values):
    """A checkpoint with these tags, each a minute after the one before."""
    artifact = checkpoint(running(project=project))
    for number, value in enumerate(values):
        tag = artifact.tag(value, notes=f"{value}", by=None)
        at = timezone.now() + timedelta(minutes=number)
        ArtifactTag.objects.filter(pk=tag.pk).update(applied_at=at)
    return artifact


def test_tag_that_was_set_last_is_in_force(project):
    archived = tagged(project, TagValue.RELEASED, TagValue.ARCHIVED)
    again = tagged(project, TagValue.ARCHIVED, TagValue.RELEASED)

    assert tag_in_force(archived).value == TagValue.ARCHIVED
    assert tag_in_force(checkpoint(running(project=project))) is None
    assert in_force(project, TagValue.RELEASED) == [again]
    assert in_force(project, TagValue.ARCHIVED) == [archived]


def test_checkpoints_in_force_are_the_projects_own_and_listed(project):
    tagged(ProjectFactory(), TagValue.RELEASED)
    gone = tagged(project, TagValue.RELEASED)
    type(gone.run).objects.filter(pk=gone.run_id).update(deleted_at=timezone.now())

    assert in_force(project, TagValue.RELEASED) == []
    assert not history(project).exists()


def test_release_archives_what_it_replaces_with_the_same_notes(project):
    before, user = tagged(project, TagValue.RELEASED), member_of(project, Role.MAINTAINER)
    new = checkpoint(running(project=project))

    release(new, notes="better", replaces_others=True, by=user)

    assert in_force(project, TagValue.RELEASED) == [new]
    assert in_force(project, TagValue.ARCHIVED) == [before]
    newest = history(project)[:2]
    assert {(tag.artifact, tag.notes, tag.applied_by) for tag in newest} == {
        (new, "better", user),
        (before, "better", user),
    }


def test_refused_release_archives_nothing(project):
    before = tagged(project, TagValue.RELEASED)
    damaged = checkpoint(running(project=project))
    damaged.metadata |= damage_metadata(Message("incomplete"))
    damaged.save()

    with pytest.raises(DamagedCheckpoint):
        release(damaged, notes="better", replaces_others=True, by=None)

    assert in_force(project, TagValue.RELEASED) == [before]


def test_release_leaves_others_unless_it_replaces_them(project):
    before = tagged(project, TagValue.RELEASED)
    new = checkpoint(running(project=project))

    release(new, notes="for tablets", replaces_others=False, by=None)

    assert {artifact.pk for artifact in in_force(project, TagValue.RELEASED)} == {before.pk, new.pk}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_concurrent_releases_the_second_replaces_the_first(project):
    first, second = (checkpoint(running(project=project)) for _ in range(2))

    def release_second():
        return in_parallel(lambda: release(second, notes="", replaces_others=True, by=None))

    with transaction_elsewhere(lambda: release(first, notes="", replaces_others=True, by=None)):
        waiting = threading.Thread(target=release_second)
        waiting.start()
        wait_until(some_connection_waits_for_lock)
    waiting.join()

    assert in_force(project, TagValue.RELEASED) == [second]


def some_connection_waits_for_lock():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.rowcount
