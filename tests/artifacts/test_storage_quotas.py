"""Use of storage, and quotas of it."""

import io

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import Token
from artifacts import storage_use, trash, uploads
from artifacts.models import Artifact
from artifacts.storage_quotas import (
    StorageQuota,
    StorageQuotaExceeded,
    exceeded,
    refuse_over_quota,
)
from artifacts.storage_use import storage_report
from artifacts.storage_use_queries import StorageGrouping
from projects.sight import EVERYTHING, Sight
from runs.actions import create_run
from runs.models import RecipeKind
from runs.status import RunStatus
from tests.factories import (
    ProjectFactory,
    RecipeFactory,
    RunFactory,
    UserFactory,
    checkpoint,
    member_of,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture
def project():
    return ProjectFactory(owner="Li Lei")


@pytest.fixture
def run(project):
    return RunFactory(project=project, status=RunStatus.COMPLETED)


def used(by, **options):
    report = storage_report(by, sight=EVERYTHING, limit=10, **options)
    return {group.key: (group.size_bytes, group.trash_bytes) for group in report.groups}


def test_use_is_told_by_run_project_and_owner(project, run):
    checkpoint(run, content=b"x" * 10)
    other = RunFactory(project=ProjectFactory(owner="Li Lei"))
    checkpoint(other, content=b"x" * 5)
    trash.trash(checkpoint(run, step=1, content=b"x" * 3), reason="", by=None)

    assert used(StorageGrouping.RUN, project_id=project.pk) == {run.pk: (13, 3)}
    assert used(StorageGrouping.PROJECT)[project.pk] == (13, 3)
    assert used(StorageGrouping.OWNER) == {"Li Lei": (18, 3)}


def test_api_tells_the_largest_first_and_the_sums_of_all(project, run):
    checkpoint(run, content=b"x" * 10)
    checkpoint(RunFactory(project=project), content=b"x" * 30)
    query = {"group_by": "run", "project_id": project.pk, "limit": 1}

    told = Client(SERVER_NAME="localhost").get("/storage", query).json()

    assert [group["size_bytes"] for group in told["groups"]] == [30]
    assert (told["group_count"], told["size_bytes"], told["file_count"]) == (2, 40, 2)


def test_total_is_told_to_prometheus(run, monkeypatch):
    monkeypatch.setattr(storage_use._total, "_until", 0.0)  # what was remembered is out of date
    checkpoint(run, content=b"x" * 10)
    trash.trash(checkpoint(run, step=1, content=b"x" * 3), reason="", by=None)

    told = Client(SERVER_NAME="localhost").get("/metrics").content.decode()

    assert 'trainhub_artifact_bytes{state="kept"} 10\n' in told
    assert 'trainhub_artifact_bytes{state="trash"} 3\n' in told


def test_purged_bytes_are_not_counted(run, settings, django_capture_on_commit_callbacks):
    settings.CHECKPOINT_TRASH_DAYS = 0
    trash.trash(checkpoint(run, content=b"x" * 3), reason="", by=None)

    with django_capture_on_commit_callbacks(execute=True):
        trash.purge()

    assert used(StorageGrouping.RUN) == {}


def test_stranger_sees_nothing_of_it(run):
    checkpoint(run)

    report = storage_report(StorageGrouping.OWNER, sight=Sight.of(UserFactory()), limit=10)

    assert (report.groups, report.size_bytes) == ([], 0)


# --- quotas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["project", "owner"])
def test_upload_beyond_the_quota_is_refused(project, run, of, settings):
    settings.OPEN_MODE = False
    names = {"project": project} if of == "project" else {"owner": project.owner}
    StorageQuota.objects.create(max_bytes=20, **names)
    checkpoint(run, content=b"x" * 15)
    token = Token.issue(member_of(project))[1]
    client = Client(headers={"authorization": f"Bearer {token}", "accept-language": "en"})
    path = f"/projects/{project.pk}/runs/{run.pk}/artifacts/files"
    mlflow = f"/api/2.0/mlflow-artifacts/artifacts/{project.pk}/{run.pk}/artifacts"

    fits = client.put(f"{path}/a.txt", b"x" * 5, content_type="text/plain")
    refused = client.put(f"{path}/b.txt", b"x", content_type="text/plain")
    by_mlflow = client.put(f"{mlflow}/b.txt", b"x", content_type="text/plain")
    smaller = client.put(f"{path}/a.txt", b"x" * 4, content_type="text/plain")

    assert (fits.status_code, smaller.status_code) == (201, 200)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (413, "storage_quota")
    assert "20\xa0bytes of the 20\xa0bytes" in refused.json()["errors"][0]["detail"]
    assert by_mlflow.json()["error_code"] == "RESOURCE_LIMIT_EXCEEDED"
    assert Artifact.objects.uploaded().filter(run=run).count() == 1


def test_upload_without_a_length_is_measured(project, run):
    StorageQuota.objects.create(project=project, max_bytes=3)

    with pytest.raises(StorageQuotaExceeded):
        uploads.store(run, "a.txt", io.BytesIO(b"x" * 4), is_limited=True)

    assert not Artifact.objects.filter(run=run)


def test_training_still_saves_its_checkpoints(project, run):
    StorageQuota.objects.create(project=project, max_bytes=1)

    assert checkpoint(run).is_stored()
    assert len(exceeded(project)) == 1


def test_new_training_is_refused_and_evaluation_is_not(project, run):
    StorageQuota.objects.create(project=project, max_bytes=1)
    checkpoint(run)

    with pytest.raises(StorageQuotaExceeded):
        create_run(project, by=None)

    create_run(project, by=None, recipe=RecipeFactory(kind=RecipeKind.EVALUATION))


def test_project_without_a_quota_is_not_limited(project):
    refuse_over_quota(project, 10**15)


def test_quota_is_of_a_project_or_an_owner(project):
    for names in ({}, {"project": project, "owner": "Li Lei"}):
        with pytest.raises(ValidationError, match="that of a project or of an owner"):
            StorageQuota(max_bytes=1, **names).full_clean()
