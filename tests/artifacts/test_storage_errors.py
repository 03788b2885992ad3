"""What a full or broken storage means for uploads."""

import errno
import io

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, EndpointConnectionError

from artifacts import uploads
from artifacts.models import Artifact
from artifacts.storage import HashingFile
from artifacts.storage_errors import StorageFull, StorageUnavailable, storage_errors
from tests.clients import ApiClient
from tests.factories import RunFactory
from tests.storage import BrokenDisk, everything_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def disk(monkeypatch):
    return BrokenDisk(monkeypatch)


def put(run):
    path = f"/projects/{run.project_id}/runs/{run.pk}/artifacts/files/model.pt"
    return ApiClient().put(path, b"content", content_type="application/octet-stream")


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        (errno.ENOSPC, 507, "storage_full"),
        (errno.EDQUOT, 507, "storage_full"),
        (errno.EROFS, 503, "storage_unavailable"),
        (errno.EIO, 503, "storage_unavailable"),
    ],
)
def test_upload_that_cannot_be_stored_is_refused_with_the_reason(
    disk, tmp_path, number, status, code
):
    disk.errno = number

    response = put(RunFactory())

    assert response.status_code == status
    assert response.json()["errors"][0]["code"] == code
    assert int(response.headers["Retry-After"]) > 0
    assert not Artifact.objects.exists()
    assert everything_in(tmp_path / "artifacts") == []


def test_upload_succeeds_once_there_is_room(disk):
    run = RunFactory()
    disk.errno = errno.ENOSPC
    put(run)

    disk.errno = None

    assert put(run).status_code == 201


def test_mlflow_client_gets_an_error_that_it_does_not_repeat(disk):
    run = RunFactory(recipe=None)
    disk.errno = errno.ENOSPC
    root = f"{run.project_id}/{run.pk}/artifacts"

    response = ApiClient().put(
        f"/api/2.0/mlflow-artifacts/artifacts/{root}/a", b"a", content_type="text/plain"
    )

    assert response.status_code == 507
    assert response.json()["error_code"] == "RESOURCE_LIMIT_EXCEEDED"


def test_error_of_the_sender_is_not_one_of_the_storage():
    class Gone(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError):
        uploads.store(RunFactory(), "a", Gone())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ClientError({"Error": {"Code": "XMinioStorageFull"}}, "PutObject"), StorageFull),
        (S3UploadFailedError("Failed to upload: (QuotaExceeded) when calling"), StorageFull),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"), StorageUnavailable),
        (EndpointConnectionError(endpoint_url="http://s3"), StorageUnavailable),
    ],
)
def test_errors_of_s3_are_told_apart(error, expected):
    with pytest.raises(expected), storage_errors(HashingFile(io.BytesIO())):
        raise error
