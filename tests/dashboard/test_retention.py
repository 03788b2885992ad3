"""The pages of what is kept, of the trash, and of the use of storage."""

import html
import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.roles import Role
from artifacts import trash
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.models import Artifact
from artifacts.storage_quotas import StorageQuota
from registry.checkpoint_policy import CheckpointPolicy, set_policy
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, UserFactory, checkpoint, member_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False
    settings.LANGUAGE_CODE = "en"


@pytest.fixture
def project():
    return ProjectFactory()


@pytest.fixture
def run(project):
    run = RunFactory(project=project, status=RunStatus.COMPLETED)
    for step in (10, 20):
        checkpoint(run, step=step)
    return run


def at(name, project, *args):
    return reverse(f"dashboard:{name}", args=[project.pk, *args])


def test_preview_before_saving_changes_nothing(client, project, run):
    client.force_login(member_of(project, Role.MAINTAINER))
    form = {"last": "1", "mode": "min"}

    page = client.post(at("checkpoint-policy-change", project), {**form, "preview": "1"})

    text = page.content.decode()
    assert "Nothing has been removed." in text
    assert "one of the last 1" in text
    assert CheckpointPolicy.of(project.pk) is None


def test_policy_is_saved_and_removed(client, project, run):
    client.force_login(member_of(project, Role.MAINTAINER))
    address = at("checkpoint-policy-change", project)

    client.post(address, {"best": "2", "metric": "loss", "mode": "max", "last": ""})
    policy = CheckpointPolicy.of(project.pk)
    assert (policy.best, policy.metric, policy.mode, policy.last) == (2, "loss", "max", 0)
    client.post(address, {"remove": "1"})

    assert CheckpointPolicy.of(project.pk) is None


def test_form_says_what_is_wrong(client, project):
    client.force_login(member_of(project, Role.MAINTAINER))

    answer = client.post(at("checkpoint-policy-change", project), {"best": "2", "mode": "min"})

    assert answer.status_code == 422
    assert "name it" in answer.content.decode()


def test_viewer_reads_the_policy_and_what_it_would_remove(client, project, run):
    set_policy(project, by=None, last=1)
    client.force_login(member_of(project, Role.VIEWER))

    page = client.get(at("checkpoint-policy", project), {"preview": "1"}).content.decode()

    assert "Would be removed" in page
    assert "<button" not in page.partition("Which checkpoints are kept")[2].partition("</main>")[0]


def test_checkpoint_goes_to_the_trash_and_comes_back(client, project, run):
    client.force_login(member_of(project))
    artifact = Artifact.objects.checkpoints().get(run=run, step=10)
    remove = at("checkpoint-remove", project, run.pk, artifact.pk)

    listed = client.post(remove, {"notes": "a typo"}, follow=True).content.decode()
    deletion = Artifact.every.get(pk=artifact.pk).deletion
    shown = client.post(at("checkpoint-restore", project, deletion.pk), follow=True)

    assert "a typo" in listed
    assert "is back" in shown.content.decode()
    assert Artifact.objects.filter(pk=artifact.pk).exists()


def test_checkpoint_is_deleted_at_once_by_who_may(client, project, run):
    maintainer = member_of(project, Role.MAINTAINER)
    deletion = trash.trash(Artifact.objects.get(run=run, step=10), reason="", by=None)
    client.force_login(member_of(project))
    assert "Delete now" not in client.get(at("checkpoint-trash", project)).content.decode()
    client.force_login(maintainer)
    assert "Delete now" in client.get(at("checkpoint-trash", project)).content.decode()

    page = client.post(at("checkpoint-purge", project, deletion.pk), follow=True).content.decode()

    assert f"{maintainer.username}</small>" in page
    assert "Being deleted" in page
    assert "Delete now" not in page


def test_emptied_trash_is_what_the_page_has_shown(client, project, run):
    client.force_login(member_of(project, Role.MAINTAINER))
    artifacts = {step: Artifact.objects.get(run=run, step=step) for step in (10, 20)}
    seen = trash.trash(artifacts[10], reason="", by=None)
    CheckpointDeletion.objects.update(trashed_at=timezone.now() - timedelta(hours=1))
    page = client.get(at("checkpoint-trash", project)).content.decode()
    assert "1 checkpoint (" in page
    until = re.search(r'name="trashed_until"\s+value="([^"]+)"', page)[1]
    later = trash.trash(artifacts[20], reason="", by=None)

    client.post(at("checkpoint-trash-empty", project), {"trashed_until": html.unescape(until)})

    states = dict(CheckpointDeletion.objects.values_list("pk", "purge_requested_at"))
    assert states[seen.pk] is not None
    assert states[later.pk] is None


def test_trash_is_not_emptied_without_what_was_seen(client, project, run):
    client.force_login(member_of(project, Role.MAINTAINER))
    trash.trash(Artifact.objects.get(run=run, step=10), reason="", by=None)

    page = client.post(at("checkpoint-trash-empty", project), follow=True).content.decode()

    assert "This field is required" in page
    assert CheckpointDeletion.objects.in_trash().count() == 1


def test_history_of_releases_keeps_what_was_archived_and_removed(client, project, run):
    artifact = Artifact.objects.get(run=run, step=10)
    for value in ("发布", "归档"):
        artifact.tag(value, notes=f"because {value}", by=None)
    trash.trash(artifact, reason="", by=None)
    client.force_login(member_of(project, Role.VIEWER))

    page = client.get(at("project-releases", project)).content.decode()

    assert "because 发布" in page
    assert artifact.pk not in page


def test_nothing_is_removed_with_notes_that_cannot_be_kept(client, project, run):
    client.force_login(member_of(project))
    artifact = Artifact.objects.checkpoints().get(run=run, step=10)
    remove = at("checkpoint-remove", project, run.pk, artifact.pk)

    page = client.post(remove, {"notes": "x" * 10_001}, follow=True).content.decode()

    assert "at most 10000 characters" in page
    assert Artifact.objects.filter(pk=artifact.pk).exists()


def test_why_a_checkpoint_stays_is_told(client, project, run):
    client.force_login(member_of(project))
    artifact = Artifact.objects.checkpoints().get(run=run, step=10)
    artifact.tag("候选", notes="", by=None)

    page = client.post(at("checkpoint-remove", project, run.pk, artifact.pk), follow=True)

    assert "it has been tagged" in page.content.decode()


def test_use_of_storage_is_told_to_those_who_see_the_project(client, project, run):
    trash.trash(Artifact.objects.get(run=run, step=10), reason="", by=None)
    client.force_login(member_of(project, Role.VIEWER))

    named = {"run": run.name, "project": project.name, "owner": project.owner}
    for by, name in named.items():
        page = client.get(reverse("dashboard:storage"), {"by": by}).content.decode()
        assert name in page.partition("<tbody>")[2]
    client.force_login(UserFactory())
    assert "Nothing is stored." in client.get(reverse("dashboard:storage")).content.decode()


def test_project_beyond_its_quota_has_a_warning(client, project, run):
    StorageQuota.objects.create(project=project, max_bytes=1)
    client.force_login(member_of(project, Role.VIEWER))

    page = client.get(at("project", project)).content.decode()

    assert "trainings that run still save their checkpoints" in page
