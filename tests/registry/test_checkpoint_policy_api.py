"""REST of policies, of their previews, and of the trash."""

import json

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Token
from accounts.roles import Role
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.models import Artifact
from audit.models import Entry
from registry.checkpoint_policy import CheckpointPolicy, set_policy
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, checkpoint, member_of

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
    for step in (10, 20, 30):
        checkpoint(run, step=step)
    return run


@pytest.fixture
def call(project):
    headers = {
        role: {"authorization": f"Bearer {Token.issue(member_of(project, role))[1]}"}
        for role in (Role.VIEWER, Role.MEMBER, Role.MAINTAINER)
    }

    def send(role, method, path, body=None):
        client = Client(headers={**headers[role], "accept-language": "en"})
        return client.generic(
            method,
            f"/projects/{project.pk}/{path}",
            "" if body is None else json.dumps(body),
            content_type="application/json",
        )

    return send


def test_policy_is_set_read_and_removed(project, call):
    rules = {"metric": "loss", "mode": "max", "best": 3, "every": 100}
    assert call(Role.MEMBER, "PUT", "checkpoint-policy", rules).status_code == 403
    assert call(Role.MAINTAINER, "PUT", "checkpoint-policy", rules).status_code == 200

    told = call(Role.VIEWER, "GET", "checkpoint-policy").json()

    assert {**told, **rules, "last": 0, "in_force": True} == told
    assert call(Role.MAINTAINER, "DELETE", "checkpoint-policy").status_code == 204
    assert not call(Role.VIEWER, "GET", "checkpoint-policy").json()["in_force"]


@pytest.mark.parametrize(
    "body",
    [{}, {"best": 1}, {"last": -1}, {"last": "2"}, {"last": 1, "mode": "up"}, {"keep": 1}, []],
)
def test_malformed_policy_is_refused(project, call, body):
    assert call(Role.MAINTAINER, "PUT", "checkpoint-policy", body).status_code == 400
    assert CheckpointPolicy.of(project.pk) is None


def test_preview_of_the_policy_and_of_rules_that_are_not_saved(project, run, call):
    path = "checkpoint-policy/preview"
    assert call(Role.VIEWER, "GET", path).status_code == 400  # there is no policy
    set_policy(project, by=None, last=1)

    saved = call(Role.VIEWER, "GET", path).json()
    asked = call(Role.VIEWER, "GET", f"{path}?last=2").json()
    posted = call(Role.VIEWER, "POST", f"{path}?limit=0", {"every": 20}).json()

    assert [item["step"] for item in saved["removed"]] == [20, 10]
    assert saved["removed_bytes"] == sum(item["size_bytes"] for item in saved["removed"])
    assert saved["kept"][0]["reasons"] == ["one of the last 1"]
    assert [item["step"] for item in asked["removed"]] == [10]
    assert (posted["removed_count"], posted["removed"]) == (2, [])
    assert Artifact.objects.checkpoints().filter(run=run).count() == 3


def test_checkpoint_is_removed_and_restored(run, call):
    pk = Artifact.objects.checkpoints().get(run=run, step=10).pk
    assert call(Role.VIEWER, "DELETE", f"artifacts/{pk}").status_code == 403

    removed = call(Role.MEMBER, "DELETE", f"artifacts/{pk}", {"notes": "a typo"})

    assert (removed.status_code, removed.json()["reason"]) == (200, "a typo")
    assert call(Role.VIEWER, "GET", f"artifacts/{pk}").status_code == 404
    [listed] = call(Role.VIEWER, "GET", "checkpoint-deletions?state=trashed").json()
    assert (listed["checkpoint_id"], listed["state"]) == (pk, "trashed")

    path = f"checkpoint-deletions/{listed['id']}/restore"
    assert call(Role.VIEWER, "POST", path).status_code == 403
    assert call(Role.MEMBER, "POST", path).json()["id"] == pk
    again = call(Role.MEMBER, "POST", path)
    assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "not_in_trash")
    assert call(Role.VIEWER, "GET", f"artifacts/{pk}").status_code == 200


def test_needed_checkpoint_is_a_conflict(run, call):
    artifact = Artifact.objects.checkpoints().get(run=run, step=10)
    artifact.tag("候选", notes="", by=None)

    answer = call(Role.MEMBER, "DELETE", f"artifacts/{artifact.pk}")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "artifact_in_use")


def test_mlflow_neither_lists_nor_serves_what_is_in_the_trash(project, run, call):
    artifact = Artifact.objects.checkpoints().get(run=run, step=10)
    call(Role.MEMBER, "DELETE", f"artifacts/{artifact.pk}")
    token = Token.issue(member_of(project))[1]
    client = Client(headers={"authorization": f"Bearer {token}"})
    root = "/api/2.0/mlflow"

    listed = client.get(f"{root}/artifacts/list", {"run_id": run.pk}).json()["files"]
    path = f"{root}-artifacts/artifacts/{project.pk}/{run.pk}/artifacts/{artifact.file}"

    assert artifact.file not in [file["path"] for file in listed]
    assert len(listed) == 2
    assert client.get(path).status_code == 404


def trashed(run, call, step):
    pk = Artifact.objects.checkpoints().get(run=run, step=step).pk
    return call(Role.MEMBER, "DELETE", f"artifacts/{pk}").json()["id"]


def test_maintainers_delete_a_checkpoint_in_the_trash_for_good(project, run, call):
    path = f"checkpoint-deletions/{trashed(run, call, 10)}"
    assert call(Role.MEMBER, "DELETE", path).status_code == 403

    answer = call(Role.MAINTAINER, "DELETE", path)

    told = answer.json()
    assert (answer.status_code, told["state"], told["purge_due_at"]) == (202, "purging", None)
    maintainer = project.roles.get(role=Role.MAINTAINER).user
    assert (told["purged_by"], told["purged_at"]) == (maintainer.username, None)
    assert call(Role.MAINTAINER, "DELETE", path).json() == told
    refused = call(Role.MEMBER, "POST", f"{path}/restore")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "not_in_trash")
    entry = Entry.objects.get(action="checkpoint_deletion.purge_requested")
    assert (entry.actor, entry.subject_id) == (maintainer.username, told["checkpoint_id"])


def test_what_the_storage_has_deleted_already_is_told_as_done(run, call):
    deletion_id = trashed(run, call, 10)
    now = timezone.now()
    CheckpointDeletion.objects.filter(pk=deletion_id).update(purged_at=now, deleted_at=now)

    answer = call(Role.MAINTAINER, "DELETE", f"checkpoint-deletions/{deletion_id}")

    assert (answer.status_code, answer.json()["state"]) == (200, "deleted")


def test_restored_checkpoint_is_not_deleted_for_good(run, call):
    path = f"checkpoint-deletions/{trashed(run, call, 10)}"
    call(Role.MEMBER, "POST", f"{path}/restore")

    answer = call(Role.MAINTAINER, "DELETE", path)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "not_in_trash")


def test_maintainers_empty_the_trash(run, call):
    path = "checkpoint-deletions/empty-trash"
    first = call(Role.VIEWER, "GET", f"checkpoint-deletions/{trashed(run, call, 10)}").json()
    trashed(run, call, 20)
    assert call(Role.MEMBER, "POST", path).status_code == 403
    for body in ({"until": 1}, {"trashed_until": "2026-11-30"}, {"trashed_until": 5}, []):
        assert call(Role.MAINTAINER, "POST", path, body).status_code == 400

    counts = [
        call(Role.MAINTAINER, "POST", path, body).json()["count"]
        for body in ({"trashed_until": first["trashed_at"]}, {}, {})
    ]

    assert sum(counts) == 2
    assert counts[-1] == 0
