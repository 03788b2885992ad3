"""Which checkpoints of a project are released."""

from datetime import timedelta

import pytest
from django.utils import timezone

from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag, DamagedCheckpoint, damage_metadata
from core.messages import Message
from registry.releases import history, in_force, release, tag_in_force
from tests.factories import ProjectFactory, UserFactory, checkpoint, running

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
    before, user = tagged(project, TagValue.RELEASED), UserFactory()
    new = checkpoint(running(project=project))

    release(new, notes="better", archived=[before, new], by=user)

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
        release(damaged, notes="better", archived=[before], by=None)

    assert in_force(project, TagValue.RELEASED) == [before]
