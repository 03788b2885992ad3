"""Uploads to the paths of TrainHub's own checkpoints."""

import io

import pytest

from artifacts import file_tree, uploads
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact, PathTaken
from artifacts.storage import artifact_storage
from registry.models import RegisteredModel, RunFile, Source
from tests.clients import ApiClient
from tests.factories import RunFactory, checkpoint, sha256

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]

OWN = b"approved"


@pytest.fixture
def run():
    return RunFactory()


@pytest.fixture
def own(run):
    return checkpoint(run, step=3500, content=OWN)


def store(run, path, content=b"theirs"):
    return uploads.store(run, path, io.BytesIO(content), type=ArtifactType.CHECKPOINT)[0]


def release(artifact):
    artifact.tag(TagValue.RELEASED, notes="", by=None)


def register(artifact):
    model = RegisteredModel.objects.register("m", description="", tags={}, by=None)
    source = Source("", "", RunFile(artifact.run_id, artifact.file), artifact.run)
    return model.add_version(source, run_link="", description="", tags={}, by=None)


def resume(artifact):
    RunFactory(project=artifact.run.project, resumed_from_id=artifact.pk)


def listed(run, folder=""):
    return {entry.path: entry.size_bytes for entry in file_tree.entries(run, folder)}


@pytest.mark.parametrize("use", [release, register, resume])
@pytest.mark.parametrize("inside", ["", "/MLmodel"])
def test_path_of_a_checkpoint_in_use_takes_no_upload(run, own, use, inside):
    use(own)

    with pytest.raises(PathTaken, match=f"TrainHub's own checkpoint {own.pk}"):
        store(run, own.file + inside)

    assert list(run.artifacts.all()) == [own]


@pytest.mark.parametrize("way", ["rest", "mlflow"])
def test_upload_over_a_checkpoint_in_use_is_a_conflict(run, own, way):
    release(own)
    project, mlflow = run.project_id, "/api/2.0/mlflow-artifacts/artifacts"
    path = {
        "rest": f"/projects/{project}/runs/{run.pk}/artifacts/files/{own.file}",
        "mlflow": f"{mlflow}/{project}/{run.pk}/artifacts/{own.file}",
    }[way]

    answer = ApiClient().put(path, b"theirs", content_type="application/octet-stream")

    assert answer.status_code == 409
    assert b"upload to another path" in answer.content
    assert b"".join(ApiClient().get(path).streaming_content) == OWN


def test_same_bytes_are_the_checkpoint_in_use(run, own):
    release(own)

    assert store(run, own.file, OWN) == own

    assert list(run.artifacts.all()) == [own]
    assert artifact_storage().exists(own.storage_key)


def test_unused_checkpoint_does_not_keep_an_upload_out(run, own):
    theirs = store(run, own.file)

    assert file_tree.find(run, own.file) == theirs
    assert set(run.artifacts.checkpoints()) == {own, theirs}


def test_path_of_an_earlier_upload_names_the_checkpoint_in_use(run, own):
    store(run, own.file)
    release(own)

    assert file_tree.find(run, own.file) == own
    assert listed(run) == {own.file: len(OWN)}
    assert register(own).checkpoint == own


def test_files_uploaded_earlier_below_it_do_not_hide_the_checkpoint_in_use(run, own):
    store(run, f"{own.file}/MLmodel")
    release(own)

    assert listed(run) == {own.file: len(OWN)}
    assert listed(run, own.file) == {}
    assert register(own).checkpoint == own


def test_path_names_the_released_upload_rather_than_a_candidate(run, own):
    theirs = store(run, own.file)
    release(theirs)
    own.tag(TagValue.CANDIDATE, notes="", by=None)

    assert file_tree.find(run, own.file) == theirs
    assert register(theirs).checkpoint == theirs


def test_version_is_made_of_the_file_that_its_path_names(run, own):
    theirs = store(run, own.file)

    assert register(own).checkpoint == theirs


def test_direct_upload_over_a_checkpoint_in_use_is_refused(s3, settings, run):
    settings.S3_DIRECT = True
    own = checkpoint(run, step=3500, content=OWN)
    release(own)
    body = {"path": own.file, "size_bytes": 6, "sha256": sha256(b"theirs")}
    address = f"/projects/{run.project_id}/runs/{run.pk}/artifacts/uploads"

    answer = ApiClient().post_json(address, body)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "path_taken")
    assert Artifact.objects.get(run=run) == own
