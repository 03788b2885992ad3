"""Uploads whose bytes clients send to S3 themselves."""

import hashlib
import io
import os
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from accounts.roles import Role
from accounts.tokens import issue_script_token, revoke_tokens
from artifacts import direct_upload_actions, direct_upload_checks, uploads
from artifacts.direct_transfers import DirectTransfers, Part, part_bytes
from artifacts.direct_upload_checks import check_due
from artifacts.direct_uploads import DirectUpload, UploadStatus
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from artifacts.s3_uploads import MIB
from artifacts.storage import artifact_storage
from artifacts.storage_errors import StorageUnavailable
from artifacts.storage_quotas import StorageQuota
from artifacts.unreferenced_blobs import UnreferencedBlob
from runs.models import Run
from tests.clients import ApiClient
from tests.concurrency import in_parallel
from tests.factories import RunFactory, checkpoint, member_of, sha256
from tests.saved_files import safetensors, trainer_state, zipped

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]

PART = 5 * MIB
CONTENT = os.urandom(PART) + b"rest"


@pytest.fixture(autouse=True)
def direct(s3, settings, monkeypatch):
    """Clients may send to S3, in small parts."""
    settings.S3_DIRECT = True
    monkeypatch.setattr("artifacts.direct_transfers.SMALLEST_PART_BYTES", PART)
    return s3


@pytest.fixture
def run():
    return RunFactory()


@pytest.fixture
def api():
    return ApiClient()


@pytest.fixture
def unchecked(monkeypatch):
    """No file is small enough to be read while its completion is answered."""
    monkeypatch.setattr(direct_upload_actions, "CHECKED_AT_ONCE_BYTES", -1)


def address(run, *rest):
    return "/".join([f"/projects/{run.project_id}/runs/{run.pk}/artifacts/uploads", *rest])


def start(api, run, content=CONTENT, path="last.ckpt", **fields):
    body = {"path": path, "size_bytes": len(content), "sha256": sha256(content), **fields}
    return api.post_json(address(run), body)


def started(api, run, content=CONTENT, **fields):
    response = start(api, run, content, **fields)
    assert response.status_code == 201, response.content
    return response.json()


def send(upload, content=CONTENT):
    """As a client does; the parts to complete it with."""
    sent = []
    for part in upload["parts"]:
        first = (part["number"] - 1) * PART
        answer = httpx.put(part["url"], content=content[first : first + PART], trust_env=False)
        assert answer.status_code == 200, answer.text
        sent.append({"number": part["number"], "etag": answer.headers["ETag"]})
    return {"parts": sent}


def complete(api, run, upload, sent):
    return api.post_json(address(run, upload["id"], "complete"), sent)


def error_of(response):
    return response.status_code, response.json()["errors"][0]["code"]


def pending(client):
    """The multipart uploads that S3 has begun."""
    return client.list_multipart_uploads(Bucket=client.bucket).get("Uploads", [])


def objects(client):
    return [
        item["Key"] for item in client.list_objects_v2(Bucket=client.bucket).get("Contents", [])
    ]


# --- from begin to end -----------------------------------------------------------------------


def test_file_that_is_sent_in_parts_becomes_an_artifact(api, run, direct):
    content = zipped(os.urandom(PART))
    upload = started(api, run, content, type="checkpoint", step=7)

    assert (upload["status"], upload["part_size"], len(upload["parts"])) == ("open", PART, 2)
    assert [part["size_bytes"] for part in upload["parts"]] == [PART, len(content) - PART]
    response = complete(api, run, upload, send(upload, content))

    assert response.status_code == 200, response.content
    artifact = response.json()["artifact"]
    assert artifact["id"].startswith("ckpt_")
    assert (artifact["step"], artifact["sha256"]) == (7, sha256(content))
    stored = Artifact.objects.get(run=run)
    assert stored.problem() is None
    assert stored.verified_at is not None
    assert (pending(direct), UnreferencedBlob.objects.count()) == ([], 0)
    assert api.get(address(run, upload["id"])).json()["artifact"]["id"] == artifact["id"]


def test_no_byte_of_it_passes_through_the_server(api, run, asked):
    upload = started(api, run)
    complete(api, run, upload, send(upload))

    assert "UploadPart" not in asked
    assert "PutObject" not in asked


def test_large_file_is_read_by_a_worker_before_it_is_an_artifact(api, run, unchecked):
    upload = started(api, run)

    response = complete(api, run, upload, send(upload))

    assert (response.status_code, response.json()["status"]) == (202, "checking")
    assert not Artifact.objects.exists()
    assert check_due() == 1
    assert api.get(address(run, upload["id"])).json()["status"] == "completed"
    assert Artifact.objects.get().sha256 == sha256(CONTENT)
    assert check_due() == 0


def test_completing_twice_makes_one_artifact(api, run):
    upload = started(api, run)
    sent = send(upload)

    first, second = (complete(api, run, upload, sent) for _time in range(2))

    assert first.json() == second.json()
    assert Artifact.objects.count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_completing_twice_at_once_makes_one_artifact(api, run):
    upload = started(api, run)
    sent = send(upload)

    answers = in_parallel(*[lambda: complete(ApiClient(), run, upload, sent)] * 2)

    assert {answer.status_code for answer in answers} <= {200, 202}
    assert Artifact.objects.count() == 1
    assert UnreferencedBlob.objects.count() == 0
    assert api.get(address(run, upload["id"])).json()["status"] == "completed"


def test_further_urls_are_given_when_asked_for(api, run, monkeypatch):
    monkeypatch.setattr("artifacts.direct_upload_viewsets.DEFAULT_URLS", 1)
    upload = started(api, run)
    assert [part["number"] for part in upload["parts"]] == [1]

    more = api.post_json(address(run, upload["id"], "parts"), {"first": 2})

    assert [part["number"] for part in more.json()["parts"]] == [2]
    upload["parts"] += more.json()["parts"]
    assert complete(api, run, upload, send(upload)).status_code == 200


def test_file_replaces_the_one_at_its_path(api, run, direct):
    uploads.store(run, "a.bin", io.BytesIO(b"old"))

    upload = started(api, run, path="a.bin")
    complete(api, run, upload, send(upload))

    assert Artifact.objects.get(run=run).sha256 == sha256(CONTENT)


def test_urls_lead_to_the_address_that_clients_know(api, run, settings):
    settings.S3_PUBLIC_ENDPOINT = "https://s3.example.org"
    artifact_storage().__dict__.pop("signing_client", None)

    upload = started(api, run)

    assert upload["parts"][0]["url"].startswith("https://s3.example.org/")
    assert "X-Amz-Signature" in upload["parts"][0]["url"]


def test_largest_file_fits_into_the_parts_that_s3_takes(monkeypatch):
    monkeypatch.undo()
    size = 5 * 1024**4

    assert -(-size // part_bytes(size)) <= 10_000
    assert part_bytes(1) == 64 * MIB


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("off", ["setting", "storage"])
def test_without_direct_uploads_the_client_is_told_the_other_way(api, run, settings, tmp_path, off):
    if off == "setting":
        settings.S3_DIRECT = False
    else:
        settings.STORAGES = {
            **settings.STORAGES,
            "artifacts": {
                "BACKEND": "artifacts.storage.DurableFileSystemStorage",
                "OPTIONS": {"location": str(tmp_path)},
            },
        }

    response = start(api, run)

    assert error_of(response) == (409, "direct_uploads_off")
    assert "PUT …/artifacts/files/{path}" in response.json()["errors"][0]["detail"]
    assert not DirectUpload.objects.exists()


def test_other_bytes_than_announced_are_not_kept(api, run, direct):
    upload = started(api, run)

    response = complete(api, run, upload, send(upload, CONTENT[:-1] + b"x"))

    assert error_of(response) == (409, "upload_failed")
    assert "nothing was saved" in response.json()["errors"][0]["detail"]
    assert not Artifact.objects.exists()
    assert (objects(direct), UnreferencedBlob.objects.count()) == ([], 0)
    told = api.get(address(run, upload["id"])).json()
    assert told["status"] == "failed"
    assert "sha256" in told["problem"]
    assert error_of(complete(api, run, upload, {"parts": []})) == (409, "upload_failed")


def test_other_bytes_that_a_worker_reads_are_not_kept(api, run, direct, unchecked):
    upload = started(api, run)
    complete(api, run, upload, send(upload, bytes(len(CONTENT))))

    check_due()

    assert api.get(address(run, upload["id"])).json()["status"] == "failed"
    assert not Artifact.objects.exists()
    assert objects(direct) == []


def test_file_of_another_size_is_not_read(api, run, direct, asked):
    """S3 insists on the sizes of parts; a server that does not is no way around."""
    upload = started(api, run)
    sent = send(upload)
    DirectUpload.objects.update(size_bytes=len(CONTENT) + 1)
    asked.clear()

    response = complete(api, run, upload, sent)

    assert error_of(response) == (409, "upload_failed")
    assert asked == ["CompleteMultipartUpload", "HeadObject", "DeleteObject"]
    assert objects(direct) == []


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [{"number": 1, "etag": "x"}],
        [{"number": 1, "etag": "x"}, {"number": 1, "etag": "x"}],
        [{"number": 1, "etag": "x"}, {"number": 2, "etag": "y"}],
    ],
)
def test_wrong_parts_are_refused_and_the_upload_stays_open(api, run, parts):
    upload = started(api, run)
    sent = send(upload)

    assert error_of(complete(api, run, upload, {"parts": parts})) == (400, "invalid_parts")

    assert complete(api, run, upload, sent).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "../x"},
        {"path": ""},
        {"size_bytes": 0},
        {"size_bytes": 6 * 1024**4},
        {"sha256": "x"},
        {"type": "other"},
        {"step": -1},
        {"unknown": 1},
    ],
)
def test_invalid_field_is_refused(api, run, direct, fields):
    assert start(api, run, **fields).status_code == 400

    assert pending(direct) == []


def test_file_beyond_the_quota_is_refused_before_it_is_sent(api, run, direct):
    StorageQuota.objects.create(project=run.project, max_bytes=len(CONTENT) - 1)

    assert error_of(start(api, run)) == (413, "storage_quota")

    assert pending(direct) == []


def test_file_that_passes_a_quota_meanwhile_is_not_kept(api, run, direct):
    upload = started(api, run)
    sent = send(upload)
    StorageQuota.objects.create(project=run.project, max_bytes=len(CONTENT) - 1)

    assert error_of(complete(api, run, upload, sent)) == (409, "upload_failed")

    assert not Artifact.objects.exists()
    assert objects(direct) == []


def test_path_of_a_folder_is_refused_at_once(api, run):
    uploads.store(run, "a/b", io.BytesIO(b"x"))

    assert error_of(start(api, run, path="a")) == (409, "path_taken")


def test_path_that_became_a_folder_meanwhile_fails_the_upload(api, run, direct):
    upload = started(api, run, path="a")
    sent = send(upload)
    uploads.store(run, "a/b", io.BytesIO(b"x"))

    assert error_of(complete(api, run, upload, sent)) == (409, "upload_failed")

    assert len(objects(direct)) == 1


def test_run_in_the_trash_takes_nothing(api, run):
    upload = started(api, run)
    sent = send(upload)
    Run.objects.filter(pk=run.pk).update(deleted_at=timezone.now())

    assert error_of(start(api, run)) == (409, "run_in_trash")
    assert error_of(complete(api, run, upload, sent)) == (409, "run_in_trash")


def test_storage_that_cannot_be_read_is_asked_again(api, run, monkeypatch):
    upload = started(api, run)
    sent = send(upload)

    def away(*_arguments):
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(direct_upload_checks, "sha256_of", away)
        assert error_of(complete(api, run, upload, sent)) == (503, "storage_unavailable")
    assert complete(api, run, upload, sent).status_code == 202
    assert check_due() == 0  # not at once
    DirectUpload.objects.update(check_after=timezone.now())

    assert check_due() == 1
    assert Artifact.objects.count() == 1


def test_unreachable_storage_begins_nothing(api, run, monkeypatch):
    def away(*_arguments):
        raise StorageUnavailable("away")

    monkeypatch.setattr(DirectTransfers, "begin", away)

    assert error_of(start(api, run)) == (503, "storage_unavailable")

    assert error_of_parts(api, run) == (409, "upload_expired")


def error_of_parts(api, run):
    [pk] = DirectUpload.objects.values_list("pk", flat=True)
    return error_of(api.post_json(address(run, pk, "parts")))


# --- ends without an artifact ----------------------------------------------------------------


def test_aborted_upload_leaves_nothing(api, run, direct):
    upload = started(api, run)
    sent = send(upload)

    answers = [api.delete(address(run, upload["id"])).status_code for _time in range(2)]

    assert answers == [204, 204]
    assert (pending(direct), UnreferencedBlob.objects.count()) == ([], 0)
    assert error_of(complete(api, run, upload, sent)) == (409, "upload_aborted")
    assert error_of_parts(api, run) == (409, "upload_aborted")


def test_upload_that_is_aborted_while_it_is_read_leaves_nothing(
    api, run, direct, unchecked, monkeypatch
):
    upload = started(api, run)
    complete(api, run, upload, send(upload))
    read = direct_upload_checks.sha256_of

    def aborting(*arguments):
        found = read(*arguments)
        assert api.delete(address(run, upload["id"])).status_code == 204
        return found

    monkeypatch.setattr(direct_upload_checks, "sha256_of", aborting)
    check_due()

    assert not Artifact.objects.exists()
    assert api.get(address(run, upload["id"])).json()["status"] == "aborted"
    assert objects(direct) == []


def test_completed_upload_is_not_aborted(api, run, direct):
    upload = started(api, run)
    complete(api, run, upload, send(upload))

    assert error_of(api.delete(address(run, upload["id"]))) == (409, "upload_completed")

    assert len(objects(direct)) == 1


def expire():
    DirectUpload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def test_abandoned_upload_is_swept(api, run, direct):
    upload = started(api, run)
    sent = send(upload)
    expire()

    DirectUpload.objects.sweep()

    assert pending(direct) == []
    assert UnreferencedBlob.objects.count() == 0
    assert api.get(address(run, upload["id"])).json()["status"] == "aborted"
    assert error_of(complete(api, run, upload, sent)) == (409, "upload_aborted")


def test_expired_upload_cannot_be_completed(api, run):
    upload = started(api, run)
    sent = send(upload)
    expire()

    assert error_of(complete(api, run, upload, sent)) == (409, "upload_expired")
    assert error_of_parts(api, run) == (409, "upload_expired")


def test_upload_whose_server_died_as_it_began_is_swept(api, run, direct):
    """S3 has begun it, and nobody has noted its id."""
    started(api, run)
    DirectUpload.objects.update(multipart_id="")
    expire()

    DirectUpload.objects.sweep()

    assert pending(direct) == []


def test_upload_of_a_deleted_run_is_swept(api, run, direct):
    started(api, run)
    Run.objects.filter(pk=run.pk).delete()

    DirectUpload.objects.sweep()

    assert pending(direct) == []
    assert DirectUpload.objects.get().status == UploadStatus.ABORTED


def test_upload_whose_run_is_deleted_while_it_waits_leaves_nothing(api, run, direct, unchecked):
    upload = started(api, run)
    complete(api, run, upload, send(upload))
    Run.objects.filter(pk=run.pk).delete()

    check_due()

    assert objects(direct) == []
    assert DirectUpload.objects.get().status == UploadStatus.FAILED


def test_sweep_goes_on_after_one_that_fails(api, run, direct, monkeypatch):
    for name in ("a", "b"):
        started(api, run, path=name)
    expire()
    abort, failing = DirectTransfers.abort, [True]

    def once(transfers, *arguments):
        if failing.pop() if failing else False:
            raise StorageUnavailable("away")
        abort(transfers, *arguments)

    monkeypatch.setattr(DirectTransfers, "abort", once)

    DirectUpload.objects.sweep()
    assert len(pending(direct)) == 1
    DirectUpload.objects.sweep()

    assert pending(direct) == []


def test_old_uploads_are_forgotten(api, run):
    upload = started(api, run)
    complete(api, run, upload, send(upload))
    DirectUpload.objects.update(created_at=timezone.now() - timedelta(days=8))

    DirectUpload.objects.sweep()

    assert not DirectUpload.objects.exists()
    assert Artifact.objects.count() == 1


# --- who may ---------------------------------------------------------------------------------


def test_viewer_and_stranger_upload_nothing(run, settings):
    settings.OPEN_MODE = False
    viewer, stranger, member = ApiClient(), ApiClient(), ApiClient()
    viewer.force_login(member_of(run.project, Role.VIEWER))
    member.force_login(member_of(run.project, Role.MEMBER))
    stranger.force_login(member_of(RunFactory().project))
    upload = started(member, run)

    assert start(viewer, run).status_code == 403
    assert start(stranger, run).status_code == 404
    for path in ("complete", "parts"):
        target = address(run, upload["id"], path)
        assert viewer.post_json(target).status_code == 403
        assert stranger.post_json(target).status_code == 404
    assert viewer.get(address(run, upload["id"])).status_code == 200
    assert stranger.get(address(run, upload["id"])).status_code == 404


def test_upload_of_another_run_is_not_found(api, run):
    upload = started(api, run)
    other = RunFactory(project=run.project)

    assert api.get(address(other, upload["id"])).status_code == 404
    assert api.delete(address(other, upload["id"])).status_code == 404


def test_parts_are_taken_with_their_numbers(run, direct):
    """Whoever divides a file as they like says into how many parts."""
    upload = direct_upload_actions.start(run, "a", part_count=2)
    urls = direct_upload_actions.part_urls(upload, [1, 2, 3])
    assert [url.number for url in urls] == [1, 2]
    etags = [
        httpx.put(url.url, content=CONTENT[:PART], trust_env=False).headers["ETag"] for url in urls
    ]

    direct_upload_actions.complete(
        upload, [Part(number, etag) for number, etag in enumerate(etags, start=1)]
    )

    assert upload.artifact.sha256 == hashlib.sha256(CONTENT[:PART] * 2).hexdigest()


def test_training_uploads_to_its_own_run_alone(run, settings):
    settings.OPEN_MODE = False
    other = RunFactory(project=run.project)
    member = member_of(run.project, Role.MEMBER)
    token, digest = issue_script_token(member, run.pk, life=timedelta(hours=1))
    script = ApiClient(headers={"authorization": f"Bearer {token}", "accept-language": "en"})

    upload = started(script, run)

    assert complete(script, run, upload, send(upload)).status_code == 200
    assert start(script, other).status_code == 403
    revoke_tokens([digest])
    assert start(script, run).status_code == 401


@pytest.mark.parametrize("name", ["modeling.py", "trainer_state.json"])
def test_released_folder_stays_as_it_is(api, run, name):
    parts = {"model.safetensors": safetensors(), "trainer_state.json": trainer_state(20)}
    for part, content in parts.items():
        uploads.store(run, f"out/checkpoint-20/{part}", io.BytesIO(content))
    Artifact.objects.checkpoints().get().tag(TagValue.RELEASED, notes="", by=None)
    upload = started(api, run, path=f"out/checkpoint-20/{name}")

    response = complete(api, run, upload, send(upload))

    assert error_of(response) == (409, "upload_failed")
    assert "is in use" in response.content.decode()
    kept = {sha256(content) for content in parts.values()}
    assert set(run.artifacts.values_list("sha256", flat=True)) == kept


def test_checkpoint_that_is_in_use_meanwhile_keeps_its_path(api, run):
    own = checkpoint(run, step=20)
    upload = started(api, run, path=own.file)
    own.tag(TagValue.CANDIDATE, notes="", by=None)  # meanwhile

    assert error_of(complete(api, run, upload, send(upload))) == (409, "upload_failed")
    assert Artifact.objects.get(run=run) == own
