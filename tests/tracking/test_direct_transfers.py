"""MLflow's multipart uploads and presigned downloads, of files in S3."""

import io
import os

import httpx
import pytest

from artifacts import direct_upload_actions, uploads
from artifacts.direct_upload_checks import check_due
from artifacts.models import Artifact
from tests.clients import ApiClient
from tests.factories import RunFactory, sha256

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]

PROXY = "/api/2.0/mlflow-artifacts"
CONTENT = os.urandom(5 * 1024 * 1024) + b"rest"
HALVES = [CONTENT[: 5 * 1024 * 1024], b"rest"]


@pytest.fixture(autouse=True)
def direct(s3, settings):
    settings.S3_DIRECT = True
    return s3


@pytest.fixture
def api():
    return ApiClient()


@pytest.fixture
def run():
    return RunFactory()


def root(run):
    return f"{run.project_id}/{run.pk}/artifacts"


def mpu(api, run, step, folder="", **fields):
    path = f"{PROXY}/mpu/{step}/{root(run)}{folder}"
    return api.post_json(path, {"path": "/home/me/model.bin", **fields})


def create(api, run, folder="", **fields):
    response = mpu(api, run, "create", folder, **{"num_parts": 2, **fields})
    assert response.status_code == 200, response.content
    return response.json()


def send(created):
    parts = []
    for credential, content in zip(created["credentials"], HALVES, strict=True):
        answer = httpx.put(
            credential["url"], content=content, headers=credential["headers"], trust_env=False
        )
        number = credential["part_number"]
        parts.append({"part_number": number, "etag": answer.headers["ETag"], "url": "…"})
    return {"upload_id": created["upload_id"], "parts": parts}


def error_of(response):
    return response.status_code, response.json()["error_code"]


@pytest.mark.parametrize("local_file", ["model.bin", "/home/me/model.bin", r"C:\me\model.bin"])
def test_parts_become_the_file_of_the_clients_name(api, run, local_file):
    created = create(api, run, "/deep/er", path=local_file)

    response = mpu(api, run, "complete", "/deep/er", path=local_file, **send(created))

    assert (response.status_code, response.json()) == (200, {})
    artifact = Artifact.objects.get(run=run)
    assert (artifact.file, artifact.sha256) == ("deep/er/model.bin", sha256(CONTENT))


def test_client_that_asks_again_is_answered_the_same(api, run):
    sent = send(create(api, run))

    assert [mpu(api, run, "complete", **sent).status_code for _time in range(2)] == [200, 200]

    assert Artifact.objects.count() == 1


def test_aborted_upload_leaves_nothing(api, run, direct):
    created = create(api, run)
    send(created)

    for _time in range(2):
        assert mpu(api, run, "abort", upload_id=created["upload_id"]).json() == {}

    assert direct.list_multipart_uploads(Bucket=direct.bucket).get("Uploads", []) == []


def test_file_that_is_checked_is_asked_for_again(api, run, monkeypatch):
    monkeypatch.setattr(direct_upload_actions, "CHECKED_AT_ONCE_BYTES", -1)
    mpu(api, run, "complete", **send(create(api, run)))

    for place in ("artifacts", "presigned"):
        response = api.get(f"{PROXY}/{place}/{root(run)}/model.bin")
        assert error_of(response) == (503, "TEMPORARILY_UNAVAILABLE")
        assert response["Retry-After"] == "5"
    check_due()

    assert api.get(f"{PROXY}/presigned/{root(run)}/model.bin").status_code == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"num_parts": 0}, 400),
        ({"num_parts": 10_001}, 400),
        ({"num_parts": "many"}, 400),
        ({"path": ""}, 400),
        ({"path": ".."}, 400),
        ({"path": "a\x00b"}, 400),
    ],
)
def test_invalid_request_begins_nothing(api, run, direct, fields, status):
    response = mpu(api, run, "create", **{"num_parts": 1, **fields})

    assert response.status_code == status
    assert direct.list_multipart_uploads(Bucket=direct.bucket).get("Uploads", []) == []


@pytest.mark.parametrize("step", ["complete", "abort"])
def test_unknown_upload_is_not_found(api, run, step):
    other = create(api, RunFactory())["upload_id"]

    for upload_id in ("", "upload_x", "\x00", other):
        answer = mpu(api, run, step, upload_id=upload_id)
        assert error_of(answer) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_wrong_parts_are_refused(api, run):
    created = create(api, run)

    response = mpu(api, run, "complete", upload_id=created["upload_id"], parts=[{}])

    assert error_of(response) == (400, "INVALID_PARAMETER_VALUE")


def test_presigned_url_leads_to_the_file(api, run):
    uploads.store(run, "a/b.txt", io.BytesIO(CONTENT))

    answer = api.get(f"{PROXY}/presigned/{root(run)}/a/b.txt").json()

    assert (answer["file_size"], answer["headers"]) == (len(CONTENT), {})
    assert httpx.get(answer["url"], trust_env=False).content == CONTENT
    missing = api.get(f"{PROXY}/presigned/{root(run)}/a")
    assert error_of(missing) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_server_tells_its_clients(api, settings):
    told = api.get("/api/3.0/mlflow/server-info").json()
    assert (told["multipart_uploads_enabled"], told["multipart_downloads_enabled"]) == (True, True)

    settings.S3_DIRECT = False

    told = api.get("/api/3.0/mlflow/server-info").json()
    assert (told["multipart_uploads_enabled"], told["multipart_downloads_enabled"]) == (
        False,
        False,
    )
