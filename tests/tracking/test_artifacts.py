"""MLflow artifacts: upload, download, list, delete."""

import io

import pytest

from artifacts import storing, uploads
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from execution.outputs import store_configuration
from tests.clients import ApiClient
from tests.factories import RunFactory, checkpoint, member_of

pytestmark = pytest.mark.django_db

PROXY = "/api/2.0/mlflow-artifacts"
LISTING = "/api/2.0/mlflow/artifacts/list"


@pytest.fixture
def api():
    return ApiClient()


@pytest.fixture
def run():
    return RunFactory(recipe=None)


def root(run):
    return f"{run.project_id}/{run.pk}/artifacts"


def url(run, path):
    return f"{PROXY}/artifacts/{root(run)}/{path}"


def put(api, run, path, content=b"content", content_type="application/octet-stream"):
    return api.put(url(run, path), content, content_type=content_type)


def body(response):
    return b"".join(response.streaming_content)


def files(api, run, folder=""):
    path = f"{root(run)}/{folder}".rstrip("/")
    return api.get(f"{PROXY}/artifacts", {"path": path}).json()["files"]


def error_of(response):
    return response.status_code, response.json()["error_code"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "application/x-www-form-urlencoded"]
)
def test_upload_ignores_content_type(api, run, content_type):
    response = put(api, run, "notes/a.txt", b"a=1\n", content_type)

    assert (response.status_code, response.json()) == (200, {})
    assert body(api.get(url(run, "notes/a.txt"))) == b"a=1\n"


def test_upload_replaces_existing_file(api, run):
    put(api, run, "a", b"old")

    assert put(api, run, "a", b"new").status_code == 200
    assert body(api.get(url(run, "a"))) == b"new"


def test_logged_file_is_a_run_artifact(api, run):
    put(api, run, "plots/loss.png")

    items = api.get(f"/projects/{run.project_id}/runs/{run.pk}/artifacts").json()["items"]
    page = api.get(f"/dashboard/projects/{run.project_id}/runs/{run.pk}/checkpoints")

    assert [(item["type"], item["name"]) for item in items] == [("file", "loss.png")]
    assert b"plots/loss.png" in page.content


def test_upload_accepts_experiment_id_0(api, run):
    api.put(f"{PROXY}/artifacts/0/{run.pk}/artifacts/a", b"x")

    assert Artifact.objects.get().run == run


def test_folder_listing_has_names(api, run):
    put(api, run, "a/b/c.txt", b"123")
    put(api, run, "a/d.txt", b"4")

    assert files(api, run) == [{"path": "a", "is_dir": True}]
    assert files(api, run, "a") == [
        {"path": "b", "is_dir": True},
        {"path": "d.txt", "is_dir": False, "file_size": 1},
    ]


def test_listing_a_file_or_missing_path_is_empty(api, run):
    put(api, run, "a/d.txt")

    assert files(api, run, "a/d.txt") == files(api, run, "b") == []


def test_run_listing_has_full_paths(api, run):
    put(api, run, "a/d.txt", b"4")

    listing = api.get(LISTING, {"run_id": run.pk, "run_uuid": run.pk, "path": "a"}).json()

    assert listing == {
        "root_uri": f"mlflow-artifacts:/{root(run)}",
        "files": [{"path": "a/d.txt", "is_dir": False, "file_size": 1}],
    }


def test_artifacts_created_by_trainhub_are_listed_and_downloaded(api):
    run = RunFactory()
    artifact = checkpoint(run, step=5, content=b"weights")
    store_configuration(run)
    storing.record_events(run, storing.put_events(run, io.BytesIO(b"events")))

    names = [file["path"] for file in files(api, run)]

    assert names == ["config.json", "step-00000005.pt", "tensorboard"]
    assert body(api.get(url(run, artifact.file))) == b"weights"
    [events] = files(api, run, "tensorboard")
    assert body(api.get(url(run, f"tensorboard/{events['path']}"))) == b"events"


def test_lightning_checkpoint_is_registered(api, run):
    name = "epoch=1-step=200"
    put(api, run, f"{name}/{name}.ckpt", b"weights")
    put(api, run, f"{name}/aliases.txt", b"['latest', 'best']")

    [artifact] = run.artifacts.checkpoints()
    assert (artifact.step, str(artifact.name)) == (200, "第 200 步检查点")


def test_deleted_file_is_not_found(api, run):
    put(api, run, "a/b")

    assert api.delete(url(run, "a/b")).json() == {}
    assert error_of(api.get(url(run, "a/b"))) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_deleting_the_root_deletes_all_logged_files(api, run):
    put(api, run, "a/b")

    assert api.delete(f"{PROXY}/artifacts/{root(run)}").json() == {}
    assert api.delete(url(run, "")).json() == {}
    assert not Artifact.objects.exists()


def test_deleting_missing_file_is_not_found(api, run):
    assert error_of(api.delete(url(run, "a"))) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_tagged_checkpoint_is_not_deleted(api, run):
    put(api, run, "last/last.ckpt")
    Artifact.objects.get().tag(TagValue.RELEASED, notes="", by=None)

    assert error_of(api.delete(url(run, "last"))) == (409, "RESOURCE_CONFLICT")
    assert Artifact.objects.exists()


def test_file_below_a_file_is_a_conflict(api, run):
    put(api, run, "a")

    assert error_of(put(api, run, "a/b")) == (409, "RESOURCE_CONFLICT")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a//b", "a%00b", "a%5Cb", "."])
def test_invalid_path_is_rejected(api, run, path):
    for method in (api.get, api.put, api.delete):
        assert error_of(method(url(run, path))) == (400, "INVALID_PARAMETER_VALUE")
    assert error_of(api.get(LISTING, {"run_id": run.pk, "path": "a/../b"}))[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "0/run_x/artifacts/a",
        "proj_x/{run}/artifacts/a",
        "{project}/{run}",
        "{project}/{run}/elsewhere/a",
        "{project}/models/m-1/artifacts/a",
        "{project}/models/m-1/a",
        "a%00/b%00/artifacts/c",
    ],
)
def test_path_outside_any_run_is_not_found(api, run, path):
    target = f"{PROXY}/artifacts/{path.format(run=run.pk, project=run.project_id)}"

    for method in (api.get, api.put, api.delete):
        assert error_of(method(target)) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_root_is_not_a_file(api, run):
    assert error_of(api.put(f"{PROXY}/artifacts/{root(run)}", b"x"))[0] == 400
    assert error_of(api.get(f"{PROXY}/artifacts/{root(run)}"))[0] == 404
    assert error_of(api.get(f"{PROXY}/artifacts"))[0] == 404


def test_interrupted_upload_is_rejected(api, run):
    environ = {"wsgi.input": io.BytesIO(b"half"), "CONTENT_LENGTH": "100"}

    assert error_of(api.put(url(run, "a"), **environ)) == (400, "INVALID_PARAMETER_VALUE")
    assert not Artifact.objects.exists()


@pytest.mark.parametrize("step", ["create", "complete", "abort"])
def test_multipart_upload_is_declined_with_the_text_clients_match(api, run, step):
    response = api.post_json(f"{PROXY}/mpu/{step}/{root(run)}/a", {"path": "a", "num_parts": 2})

    assert error_of(response) == (501, "NOT_IMPLEMENTED")
    expected = "Multipart upload is not supported for the current artifact repository"
    assert response.json()["message"].startswith(expected)


def test_presigned_download_is_declined(api, run):
    assert error_of(api.get(f"{PROXY}/presigned/{root(run)}/a")) == (501, "NOT_IMPLEMENTED")


def test_link_downloads_the_file(api, run):
    put(api, run, "a/b", b"bytes")

    for name in ("run_uuid", "run_id"):
        assert body(api.get("/get-artifact", {"path": "a/b", name: run.pk})) == b"bytes"


@pytest.mark.parametrize("query", [{}, {"run_id": "x", "path": "a"}, {"path": "\x00"}])
def test_link_to_missing_file_is_404(api, query):
    assert api.get("/get-artifact", query).status_code == 404


def test_unauthenticated_caller_cannot_transfer_files(api, run, settings):
    settings.OPEN_MODE = False

    assert error_of(api.get(url(run, "a"))) == (401, "UNAUTHENTICATED")
    assert error_of(put(api, run, "a")) == (401, "UNAUTHENTICATED")
    assert api.get("/get-artifact", {"run_id": run.pk, "path": "a"}).status_code == 401
    assert not Artifact.objects.exists()


def test_link_works_for_signed_in_user(api, run, settings):
    uploads.store(run, "a", io.BytesIO(b"bytes"))
    settings.OPEN_MODE = False
    api.force_login(member_of(run.project))

    assert body(api.get("/get-artifact", {"run_id": run.pk, "path": "a"})) == b"bytes"


@pytest.fixture
def model(api, run):
    """The ID of a model that the run has logged, with a file."""
    message = {"experiment_id": run.project_id, "source_run_id": run.pk}
    info = api.post_json("/api/2.0/mlflow/logged-models", message).json()["model"]["info"]
    path = f"{PROXY}/artifacts/{run.project_id}/models/{info['model_id']}/artifacts/MLmodel"
    assert api.put(path, b"text").status_code == 200
    return info["model_id"]


def test_logged_models_are_not_among_their_runs_files(api, run, model):
    put(api, run, "a.txt")

    assert [file["path"] for file in files(api, run)] == ["a.txt"]
    assert files(api, run, "models") == files(api, run, f"models/{model}") == []
    listed = api.get(LISTING, {"run_id": run.pk}).json()["files"]
    assert [file["path"] for file in listed] == ["a.txt"]


def test_other_files_in_the_folder_models_are_listed(api, run, model):
    put(api, run, "models/other.pt")

    assert [file["path"] for file in files(api, run)] == ["models"]
    assert [file["path"] for file in files(api, run, "models")] == ["other.pt"]


def test_files_of_a_logged_model_are_listed_by_its_name(api, run, model):
    path = f"{run.project_id}/models/{model}/artifacts"

    listed = api.get(f"{PROXY}/artifacts", {"path": path}).json()["files"]

    assert [file["path"] for file in listed] == ["MLmodel"]
