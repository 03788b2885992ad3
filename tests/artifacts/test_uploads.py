"""Uploaded files: atomic, isolated from TrainHub's own artifacts, and listed as a tree."""

import base64
import hashlib
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from artifacts import file_tree, storing, uploads
from artifacts.checkpoints import latest_sound_checkpoint
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact, InUse
from artifacts.storage import CHUNK_BYTES, artifact_storage
from artifacts.unreferenced_blobs import UnreferencedBlob, UploadExpired
from core.ids import new_id
from core.messages import in_english
from execution.executors.checkpoint_files import Damaged, fetch
from execution.outputs import store_configuration
from registry.models import RegisteredModel, RunFile, Source
from runs.actions import resume_run
from runs.checkpoint import CheckpointGone
from runs.models import Run
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.concurrency import in_parallel, some_connection_waits_for_lock, transaction_elsewhere
from tests.factories import RecipeFactory, RunFactory, checkpoint, damage, sha256, stored_path
from tests.storage import everything_in, objects_in
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def api():
    return ApiClient()


@pytest.fixture
def run():
    return RunFactory()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "artifacts"


def url(run, path, query=""):
    return f"/projects/{run.project_id}/runs/{run.pk}/artifacts/files/{path}{query}"


def put(api, run, path, content=b"content", query="", **headers):
    return api.put(
        url(run, path, query), content, content_type="application/octet-stream", headers=headers
    )


def put_raw(api, run, path, body, **environ):
    """PUT with a custom WSGI environment."""
    return api.put(url(run, path), **{"wsgi.input": io.BytesIO(body), **environ})


def store(run, path, content=b"content", **fields):
    return uploads.store(run, path, io.BytesIO(content), **fields)[0]


def body(response):
    return b"".join(response.streaming_content)


def read(artifact):
    with artifact.open() as file:
        return file.read()


def detail(response):
    return response.json()["errors"][0]


# --- uploading and downloading ---------------------------------------------------------------


def test_upload_creates_artifact(api, run):
    response = put(api, run, "plots/损失.png", b"png")

    assert response.status_code == 201
    content = response.json()
    assert content["id"].startswith("file_")
    assert (content["type"], content["name"]) == ("file", "损失.png")
    assert (content["size_bytes"], content["sha256"]) == (3, sha256(b"png"))
    assert content["path"] == f"s3://artifacts/{run.project_id}/{run.pk}/files/plots/损失.png"
    listed = api.get(f"/projects/{run.project_id}/runs/{run.pk}/artifacts").json()["items"]
    assert listed == [content]


def test_download_returns_uploaded_bytes(api, run):
    content = os.urandom(3 * CHUNK_BYTES + 1)

    put(api, run, "a/b.bin", content)

    assert body(api.get(url(run, "a/b.bin"))) == content


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data", ""])
def test_body_is_stored_unchanged_for_any_content_type(api, run, kind):
    response = api.put(url(run, "a"), b"a=1&b", content_type=kind)

    assert response.status_code == 201
    assert read(Artifact.objects.get()) == b"a=1&b"


def test_file_larger_than_django_memory_limit_is_accepted(api, run, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    assert put(api, run, "a", bytes(1000)).status_code == 201


def test_range_returns_requested_part(api, run):
    put(api, run, "a", b"0123456789")

    response = api.get(url(run, "a"), headers={"Range": "bytes=2-4"})

    assert response.status_code == 206
    assert body(response) == b"234"


def test_empty_file_is_accepted(api, run):
    assert put(api, run, "a/__init__.py", b"").status_code == 201
    assert Artifact.objects.get().size_bytes == 0


def test_ended_run_accepts_files(api):
    run = RunFactory(status=RunStatus.COMPLETED)

    assert put(api, run, "a").status_code == 201


def test_unknown_run_is_404(api, run):
    other = RunFactory()

    for project_id, run_id in [(run.project_id, "run_x"), (other.project_id, run.pk)]:
        address = f"/projects/{project_id}/runs/{run_id}/artifacts/files/a"
        assert api.put(address, b"x").status_code == 404
        assert api.get(address).status_code == 404
    assert not Artifact.objects.exists()


def test_unknown_file_is_404(api, run):
    put(api, run, "a/b")

    for path in ("b", "a", "a/b/c", "../a", "%00", "a/%00"):
        assert api.get(url(run, path)).status_code == 404


@pytest.mark.parametrize("path", ["../a", "a/../../b", "a//b", "/a", "a%5Cb", "a%00b", "./a", "a/"])
def test_invalid_path_is_rejected(api, run, root, path):
    response = put(api, run, path)

    assert response.status_code == 400
    assert (detail(response)["code"], detail(response)["attr"]) == ("invalid_path", "path")
    assert everything_in(root) == []


# --- replacing and conflicts -----------------------------------------------------------------


def test_same_path_again_replaces_bytes(api, run, root, django_capture_on_commit_callbacks):
    first = put(api, run, "a", b"old").json()

    with django_capture_on_commit_callbacks(execute=True):
        response = put(api, run, "a", b"new")

    assert response.status_code == 200
    assert response.json()["id"] == first["id"]
    assert response.json()["sha256"] == sha256(b"new")
    assert body(api.get(url(run, "a"))) == b"new"
    assert len(everything_in(root)) == 1
    assert not UnreferencedBlob.objects.exists()


def test_open_download_keeps_old_bytes_when_replaced(api, run, django_capture_on_commit_callbacks):
    put(api, run, "a", b"old")
    response = api.get(url(run, "a"))

    with django_capture_on_commit_callbacks(execute=True):
        put(api, run, "a", b"new")

    assert body(response) == b"old"


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b/c", "a/b"), ("a/b/c", "a")])
def test_path_cannot_be_both_file_and_folder(api, run, first, second):
    put(api, run, first)

    response = put(api, run, second)

    assert response.status_code == 409
    assert detail(response)["code"] == "path_taken"
    assert [artifact.file for artifact in Artifact.objects.all()] == [first]


def test_names_with_common_prefix_do_not_conflict(api, run):
    for path in ("a", "a.b", "a_c/d", "a%25/e"):
        assert put(api, run, path).status_code == 201


@pytest.mark.parametrize("path", ["config.json", "tensorboard", "tensorboard/x"])
def test_upload_to_path_of_own_artifact_creates_another_artifact(api, run, path):
    config = store_configuration(run)
    events = storing.record_events(run, storing.put_events(run, io.BytesIO(b"e")))

    response = put(api, run, path, b"mine")
    store_configuration(run)

    assert response.status_code == 201
    for own in (config, events):
        own.refresh_from_db()
        assert own.problem() is None
    assert body(api.get(url(run, path))) == b"mine"


def test_uploaded_file_and_later_own_checkpoint_of_same_path_coexist(run):
    mine = store(run, "step-00000100.pt", b"mine")

    own = checkpoint(run, step=100)

    mine.refresh_from_db()
    assert own.pk != mine.pk
    assert read(mine) == b"mine"
    assert own.problem() is mine.problem() is None


@with_two_connections
def test_concurrent_uploads_one_wins_completely(run, root):
    contents = [bytes([number]) * 100_000 for number in range(4)]

    results = in_parallel(*[lambda c=content: store(run, "a", c) for content in contents])

    assert [result for result in results if isinstance(result, Exception)] == []
    artifact = Artifact.objects.get()
    assert artifact.problem() is None
    assert read(artifact) in contents
    assert len(everything_in(root)) == 1
    assert not UnreferencedBlob.objects.exists()


@with_two_connections
def test_concurrent_file_and_folder_one_is_rejected(run, root):
    results = in_parallel(lambda: store(run, "a"), lambda: store(run, "a/b"))

    assert sorted(isinstance(result, Exception) for result in results) == [False, True]
    assert len(everything_in(root)) == Artifact.objects.count() == 1


# --- failed uploads leave nothing ------------------------------------------------------------


def nothing_is_left(root):
    return (
        everything_in(root) == []
        and not Artifact.objects.exists()
        and not UnreferencedBlob.objects.exists()
    )


@pytest.mark.parametrize("sent", [0, 1, 2 * CHUNK_BYTES + 1])
def test_body_shorter_than_announced_leaves_nothing(api, run, root, sent):
    response = put_raw(api, run, "a", bytes(sent), CONTENT_LENGTH=str(3 * CHUNK_BYTES))

    assert response.status_code == 400
    assert detail(response)["code"] == "incomplete_upload"
    assert nothing_is_left(root)


def test_interrupted_replacement_keeps_existing_file(api, run, root):
    put(api, run, "a", b"old")

    put_raw(api, run, "a", b"ne", CONTENT_LENGTH="3")

    assert body(api.get(url(run, "a"))) == b"old"
    assert len(everything_in(root)) == 1


class Disconnecting(io.RawIOBase):
    """The body of a client that disconnects."""

    def read(self, size=-1):
        raise OSError("connection reset")


def test_disconnecting_client_leaves_nothing(api, run, root):
    environ = {"wsgi.input": Disconnecting(), "CONTENT_LENGTH": "10"}

    response = api.put(url(run, "a"), **environ)

    assert response.status_code == 400
    assert nothing_is_left(root)


def test_body_of_unknown_length_is_rejected(api, run, root):
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    response = put_raw(api, run, "a", b"content", **environ)

    assert response.status_code == 411
    assert nothing_is_left(root)


def test_body_of_unknown_length_with_checksum_is_accepted(api, run):
    environ = {"wsgi.input_terminated": True, "HTTP_X_CHECKSUM_SHA256": sha256(b"content")}

    response = put_raw(api, run, "a", b"content", **environ)

    assert response.status_code == 201
    assert read(Artifact.objects.get()) == b"content"


def test_empty_body_of_unknown_length_is_accepted(api, run):
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    assert put_raw(api, run, "a", b"", **environ).status_code == 201


def test_chunked_body_not_decoded_by_server_is_rejected(api, run, root):
    response = put_raw(api, run, "a", b"4\r\nabcd", HTTP_TRANSFER_ENCODING="chunked")

    assert response.status_code == 411
    assert nothing_is_left(root)


def repr_digest(content):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Checksum-Sha256": sha256(b"content").upper()},
        {"Repr-Digest": repr_digest(b"content")},
        {"Repr-Digest": f"md5=:AAAA:, {repr_digest(b'content')}"},
        {"Repr-Digest": "sha-512=:AAAA:"},
    ],
)
def test_correct_checksum_is_accepted(api, run, headers):
    assert put(api, run, "a", **headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Checksum-Sha256": sha256(b"other")},
        {"Repr-Digest": repr_digest(b"other")},
        {"X-Checksum-Sha256": "abc"},
        {"Repr-Digest": "sha-256=:???:"},
        {"X-Checksum-Sha256": sha256(b"content"), "Repr-Digest": repr_digest(b"other")},
    ],
)
def test_wrong_checksum_is_rejected_and_leaves_nothing(api, run, root, headers):
    assert put(api, run, "a", **headers).status_code == 400
    assert nothing_is_left(root)


def test_upload_to_run_deleted_during_upload_leaves_nothing(run, root, api, monkeypatch):
    def lock(pk):
        raise Run.DoesNotExist

    monkeypatch.setattr(Run.objects, "lock", lock)

    assert put(api, run, "a").status_code == 404
    assert nothing_is_left(root)


def test_next_upload_sweeps_blobs_left_by_killed_server(api, run, root):
    abandoned = f"{run.project_id}/{run.pk}/.files/abandoned"
    artifact_storage().save(abandoned, io.BytesIO(b"half"))
    two_days_ago = timezone.now() - 2 * UnreferencedBlob.ABANDONED_AFTER
    UnreferencedBlob.objects.create(key=abandoned, since=two_days_ago)
    UnreferencedBlob.objects.create(key="recent")

    artifact = store(run, "a")

    assert everything_in(root) == [stored_path(artifact).name]
    assert [blob.key for blob in UnreferencedBlob.objects.all()] == ["recent"]


def test_upload_swept_before_it_finished_is_rejected(run, root, monkeypatch):
    def sweep_and_put(*args, **kwargs):
        UnreferencedBlob.objects.drop([blob.key for blob in UnreferencedBlob.objects.all()])
        return original_put(*args, **kwargs)

    original_put = uploads.put
    monkeypatch.setattr(uploads, "put", sweep_and_put)

    with pytest.raises(UploadExpired):
        store(run, "a")

    assert not Artifact.objects.exists()
    assert everything_in(root) == []


def test_blob_that_cannot_be_deleted_does_not_fail_upload(run, root, monkeypatch):
    two_days_ago = timezone.now() - 2 * UnreferencedBlob.ABANDONED_AFTER
    stuck = UnreferencedBlob.objects.create(key="stuck", since=two_days_ago)

    def delete(storage, name):
        raise PermissionError(name)

    monkeypatch.setattr("artifacts.storage.DurableFileSystemStorage.delete", delete)

    store(run, "a")

    stuck.refresh_from_db()
    assert stuck.since > two_days_ago  # was tried and moved to the end of the queue


def test_run_in_trash_rejects_files(api, run, root):
    run.change(deleted_at=timezone.now())

    assert put(api, run, "a").status_code == 409
    assert everything_in(root) == []


def test_replacing_checkpoint_clears_its_metadata(api, run):
    put(api, run, "ck/last.ckpt", b"old")
    put(api, run, "ck/aliases.txt", b"['best']")

    assert put(api, run, "ck/last.ckpt", b"new").json()["metadata"] == {}


# --- checkpoints -----------------------------------------------------------------------------


def test_client_can_set_type_and_step(api, run):
    content = put(api, run, "weights.bin", query="?type=checkpoint&step=70").json()

    assert content["id"].startswith("ckpt_")
    assert (content["type"], content["step"]) == ("checkpoint", 70)
    assert content["name"] == "第 70 步检查点"


def test_replaced_file_keeps_its_type(api, run):
    put(api, run, "weights.bin", query="?type=checkpoint&step=70")

    content = put(api, run, "weights.bin", b"more", query="?step=80").json()

    assert (content["type"], content["step"]) == ("checkpoint", 80)


def test_changed_type_creates_new_artifact(api, run, root, django_capture_on_commit_callbacks):
    put(api, run, "weights.bin")

    with django_capture_on_commit_callbacks(execute=True):
        response = put(api, run, "weights.bin", query="?type=checkpoint")

    assert response.status_code == 200
    assert response.json()["id"].startswith("ckpt_")
    assert Artifact.objects.count() == len(everything_in(root)) == 1


@pytest.mark.parametrize("query", ["?type=weights", "?step=-1", "?step=x", f"?step={2**63}"])
def test_invalid_query_is_rejected(api, run, query):
    assert put(api, run, "a", query=query).status_code == 400
    assert not Artifact.objects.exists()


def test_checkpoint_without_step_in_name_gets_step_of_run(run):
    Run.objects.filter(pk=run.pk).update(step=40)

    assert store(run, "last/last.ckpt").step == 40


def test_uploaded_checkpoint_can_be_tagged_and_resumed_from():
    source = RunFactory(recipe=None, hyperparameters={})
    artifact = store(source, "epoch=1-step=200/epoch=1-step=200.ckpt", b"weights")

    artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    run = resume_run(source, artifact, by=None, recipe=RecipeFactory())

    assert (run.resumed_from_id, run.start_step) == (artifact.pk, 200)
    assert latest_sound_checkpoint(source) == artifact


def test_checkpoint_ingested_by_executor_takes_precedence_over_uploaded_one(run):
    own = checkpoint(run, step=100)
    store(run, "checkpoints/step-200.pt")

    assert Artifact.objects.checkpoints_of(run).first() == own


def test_replaced_checkpoint_in_use_is_renamed_and_keeps_its_bytes(run):
    old = store(run, "last/last.ckpt", b"old")
    old.tag(TagValue.RELEASED, notes="", by=None)

    new = store(run, "last/last.ckpt", b"new")

    old.refresh_from_db()
    assert new.pk != old.pk
    assert (new.file, read(new)) == ("last/last.ckpt", b"new")
    assert read(old) == b"old"
    assert old.file == f"last/last@{old.pk.removeprefix('ckpt_')}.ckpt"
    assert file_tree.find(run, old.file) == old


def test_same_bytes_again_do_not_change_checkpoint_in_use(run, root):
    old = store(run, "last/last.ckpt", b"old")
    old.tag(TagValue.RELEASED, notes="", by=None)

    assert store(run, "last/last.ckpt", b"old") == old
    assert len(everything_in(root)) == 1
    assert not UnreferencedBlob.objects.exists()


FOLDER = {
    "model.safetensors": b"weights",
    "optimizer.pt": b"optimizer",
    "trainer_state.json": b"{}",
    "tokenizer/vocab.txt": b"words",
}


def tag(artifact):
    artifact.tag(TagValue.CANDIDATE, notes="", by=None)


def store_folder(run, folder="out/checkpoint-200"):
    stored = [store(run, f"{folder}/{name}", content) for name, content in FOLDER.items()]
    return stored[0]


def test_folder_is_one_checkpoint(run):
    main = store_folder(run)

    assert list(run.artifacts.checkpoints()) == [main]
    assert main.step == 200
    assert len(list(main.parts())) == len(FOLDER)


def test_fetched_folder_has_same_files(run, tmp_path):
    folder = fetch(store_folder(run), tmp_path / "resume")

    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}
    assert folder.name == "checkpoint-200"
    assert files == FOLDER


def test_folder_with_a_damaged_file_is_damaged(run, tmp_path):
    main = store_folder(run)
    damage(run.artifacts.get(file="out/checkpoint-200/optimizer.pt"))

    assert in_english(main.problem()) == "its sha256 is not the recorded one"
    with pytest.raises(Damaged):
        fetch(main, tmp_path / "resume")
    assert list((tmp_path / "resume").iterdir()) == []


def test_folder_in_use_keeps_its_files(run):
    store_folder(run).tag(TagValue.CANDIDATE, notes="", by=None)

    with pytest.raises(InUse):
        store(run, "out/checkpoint-200/optimizer.pt", b"other")
    store(run, "out/checkpoint-200/optimizer.pt", FOLDER["optimizer.pt"])

    assert read(run.artifacts.get(file="out/checkpoint-200/optimizer.pt")) == b"optimizer"


def test_release_that_is_a_folder_gets_no_further_file(run):
    store_folder(run).tag(TagValue.RELEASED, notes="", by=None)

    with pytest.raises(InUse):
        store(run, "out/checkpoint-200/adapter_model.bin", b"other weights")
    store(run, "out/notes.txt", b"next to it")

    assert not run.artifacts.filter(file="out/checkpoint-200/adapter_model.bin").exists()


def test_release_in_a_model_of_mlflow_keeps_how_it_is_loaded(run):
    store(run, "model/MLmodel", b"loader_module: ours")
    store(run, "model/data/last.ckpt", b"weights")
    run.artifacts.checkpoints().get().tag(TagValue.RELEASED, notes="", by=None)

    for path in ("model/MLmodel", "model/code/loader.py"):
        with pytest.raises(InUse):
            store(run, path, b"loader_module: theirs")
    with pytest.raises(InUse):
        file_tree.delete(run, "model/MLmodel")

    assert read(run.artifacts.get(file="model/MLmodel")) == b"loader_module: ours"


@pytest.mark.parametrize("folder", ["", "out/", "out/checkpoint-200/"])
def test_release_becomes_no_part_of_a_model_of_mlflow(run, folder):
    store_folder(run).tag(TagValue.RELEASED, notes="", by=None)

    with pytest.raises(InUse):
        store(run, f"{folder}MLmodel", b"loader_module: theirs")
    store(run, "other/MLmodel", b"next to it")


@pytest.mark.parametrize("name", ["trainer_state.json", "modeling.py"])
def test_files_of_a_released_folder_are_a_conflict(api, run, name):
    store_folder(run).tag(TagValue.RELEASED, notes="", by=None)
    path = f"out/checkpoint-200/{name}"

    assert put(api, run, path, b"theirs").status_code == 409
    with pytest.raises(InUse):
        file_tree.delete(run, path)

    assert len(run.artifacts.all()) == len(FOLDER)


@pytest.mark.parametrize(
    ("folder", "names", "step"),
    [
        (
            "out/global_step100",
            ["mp_rank_00_model_states.pt"]
            + [f"bf16_zero_pp_rank_{n}_mp_rank_00_optim_states.pt" for n in range(4)],
            100,
        ),
        ("epoch=1-step=200.ckpt", ["__0_0.distcp", "meta.pt", ".metadata"], 200),
        ("step-300", ["__0_0.distcp", "__1_0.distcp", ".metadata"], 300),
    ],
)
def test_sharded_folder_is_one_checkpoint_restored_as_the_folder(
    run, tmp_path, folder, names, step
):
    for name in names:
        store(run, f"{folder}/{name}", name.encode())

    [checkpoint] = run.artifacts.checkpoints()
    restored = fetch(checkpoint, tmp_path / "resume")

    assert checkpoint.step == step
    assert {path.name: path.read_bytes() for path in restored.iterdir()} == {
        name: name.encode() for name in names
    }


def test_second_file_that_could_represent_a_folder_is_a_part_of_it(run):
    first = store(run, "checkpoint-1/model.safetensors")
    store(run, "checkpoint-1/adapter_model.safetensors")

    assert list(run.artifacts.checkpoints()) == [first]


def test_folder_can_be_downloaded_as_an_archive(api, run):
    main = store_folder(run)

    response = api.get(f"/projects/{run.project_id}/runs/{run.pk}/artifacts/{main.pk}/archive")

    content = body(response)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = {item.name: tar.extractfile(item).read() for item in tar}
    assert files == {f"checkpoint-200/{name}": text for name, text in FOLDER.items()}
    assert response["Content-Length"] == str(len(content))


# --- annotations of checkpoints --------------------------------------------------------------

LIGHTNING = """\
Checkpoint:
  mode: min
  monitor: val_loss
  save_top_k: 2
original_filename: epoch=1-step=200.ckpt
score: 0.25
"""


def log_as_lightning(run, name, aliases="['latest', 'best']", metadata=LIGHTNING):
    artifact = store(run, f"{name}/{name}.ckpt", name.encode())
    store(run, f"{name}/metadata.yaml", metadata.encode())
    store(run, f"{name}/aliases.txt", aliases.encode())
    artifact.refresh_from_db()
    return artifact


def test_checkpoint_shows_annotations_of_its_logger(api, run):
    log_as_lightning(run, "epoch=1-step=200")

    query = {"type": "checkpoint"}
    address = f"/projects/{run.project_id}/runs/{run.pk}"
    [item] = api.get(f"{address}/artifacts", query).json()["items"]
    page = api.get(f"/dashboard{address}/checkpoints").content.decode()

    assert item["metadata"] == {
        "aliases": ["latest", "best"],
        "score": 0.25,
        "monitor": "val_loss",
        "mode": "min",
    }
    assert "val_loss 0.25" in page


def test_checkpoint_gets_step_from_metadata(run):
    artifact = log_as_lightning(run, "best")

    assert (artifact.step, str(artifact.name)) == (200, "第 200 步检查点")


def test_alias_moves_to_last_checkpoint_it_was_assigned_to(run):
    first = log_as_lightning(run, "step=100")
    second = log_as_lightning(run, "step=200", aliases="['latest']")

    first.refresh_from_db()
    assert first.metadata["aliases"] == ["best"]
    assert second.metadata["aliases"] == ["latest"]


def test_metadata_file_without_checkpoint_is_an_ordinary_file(run):
    store(run, "notes/metadata.yaml", LIGHTNING.encode())

    assert [artifact.metadata for artifact in Artifact.objects.all()] == [{}]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]",
        "!!int ''",
        "!!timestamp x",
        "!!python/object/apply:os.system [ls]",
        "score: .nan",
        f"score: {10**400}",
        "[[" * 5000,
        "\x00",
        "- 1",
    ],
)
def test_invalid_annotation_is_an_ordinary_file(run, text):
    artifact = log_as_lightning(run, "step=100", aliases=text, metadata=text)

    assert artifact.metadata == {}
    assert Artifact.objects.count() == 3


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(repr)))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_annotation_text_fails_upload(run, text):
    log_as_lightning(run, "step=100", aliases=text, metadata=text)


def test_tagging_or_resuming_deleted_checkpoint_raises_checkpoint_gone(run):
    artifact = store(run, "last/last.ckpt")
    file_tree.delete(run, "last")

    with pytest.raises(CheckpointGone):
        artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    with pytest.raises(CheckpointGone):
        resume_run(run, artifact, by=None)


# --- the tree --------------------------------------------------------------------------------


def listed(run, folder=""):
    return {entry.path: entry.size_bytes for entry in file_tree.entries(run, folder)}


def test_tree_contains_own_and_uploaded_files(run):
    config = store_configuration(run)
    events = storing.record_events(run, storing.put_events(run, io.BytesIO(b"e")))
    store(run, "a/b/c", b"123")
    store(run, "a/d", b"1")

    assert listed(run) == {"a": None, "config.json": config.size_bytes, "tensorboard": None}
    assert listed(run, "a") == {"a/b": None, "a/d": 1}
    assert listed(run, "tensorboard") == {f"tensorboard/events.out.tfevents.{run.pk}": 1}
    assert listed(run, "a/d") == listed(run, "nothing") == {}
    assert file_tree.find(run, events.tree_path) == events


def test_tree_shows_uploaded_file_over_own_file_of_same_path(run):
    store_configuration(run)
    storing.record_events(run, storing.put_events(run, io.BytesIO(b"e")))
    store(run, "config.json", b"1")
    store(run, "tensorboard", b"22")

    assert listed(run) == {"config.json": 1, "tensorboard": 2}


def test_tree_of_many_files_needs_few_queries(run, django_assert_max_num_queries):
    for number in range(30):
        store(run, f"a/{number}")

    with django_assert_max_num_queries(2):
        assert len(listed(run, "a")) == 30


def test_folder_among_thousands_of_files_uses_index(run):
    rows = [
        Artifact(
            id=new_id("file"),
            run=run,
            type=ArtifactType.FILE,
            name="x",
            file=f"{number % 100}/{number}",
            stored_as=f".files/{number}",
            size_bytes=1,
            sha256="0" * 64,
        )
        for number in range(5000)
    ]
    Artifact.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE artifacts_artifact")

    below = run.artifacts.uploaded().below("7")

    assert below.count() == 50
    plan = below.order_by().explain()
    assert "artifact_run_upload" in plan
    assert "(file)::text >= '7/'" in plan


def test_deleting_folder_deletes_its_bytes(run, root, django_capture_on_commit_callbacks):
    for path in ("a/b/c", "a/d", "ab"):
        store(run, path)

    with django_capture_on_commit_callbacks(execute=True):
        assert file_tree.delete(run, "a") == 2

    assert listed(run) == {"ab": 7}
    assert len(everything_in(root)) == 1
    assert not UnreferencedBlob.objects.exists()


@pytest.mark.parametrize(
    "path", ["", "out", "out/checkpoint-200", "out/checkpoint-200/optimizer.pt"]
)
def test_files_of_checkpoint_in_use_are_not_deleted(run, path):
    tag(store_folder(run))

    with pytest.raises(InUse):
        file_tree.delete(run, path)

    assert Artifact.objects.count() == len(FOLDER)


def resume(artifact):
    resume_run(artifact.run, artifact, by=None)


def register(artifact):
    model = RegisteredModel.objects.register("summarizer", description="", tags={}, by=None)
    source = Source("s3://x", "s3://x", RunFile(artifact.run_id, artifact.file))
    model.add_version(source, run_link="", description="", tags={}, by=None)


@pytest.mark.parametrize("use", [tag, resume, register])
def test_folder_with_checkpoint_in_use_is_not_deleted(run, use):
    checkpoints = [store(run, f"out/{number}.ckpt") for number in range(3)]
    use(checkpoints[1])

    with pytest.raises(InUse, match=checkpoints[1].pk):
        file_tree.delete(run, "out")

    assert set(run.artifacts.all()) == set(checkpoints)


def test_folder_can_be_deleted_with_checkpoint_in_use_in_another_folder(run):
    tag(store(run, "best/step=1.ckpt"))
    store(run, "out/step=1.ckpt")

    assert file_tree.delete(run, "out") == 1


def queries_to_delete(run, checkpoints):
    for number in range(checkpoints):
        store(run, f"out/{number}.ckpt")
    with CaptureQueriesContext(connection) as queries:
        assert file_tree.delete(run, "out") == checkpoints
    return len(queries)


def test_query_count_of_deletion_does_not_grow_with_checkpoints(run):
    assert queries_to_delete(run, checkpoints=20) == queries_to_delete(run, checkpoints=2)


@with_two_connections
def test_deletion_that_waits_for_concurrent_tag_keeps_files(run):
    main = store_folder(run)

    def delete():
        with pytest.raises(InUse):
            file_tree.delete(run, "out/checkpoint-200/optimizer.pt")

    with ThreadPoolExecutor(1) as pool:
        with transaction_elsewhere(lambda: tag(main)):
            deletion = pool.submit(with_own_connection, delete)
            wait_until(some_connection_waits_for_lock)
        deletion.result(timeout=30)

    assert run.artifacts.count() == len(FOLDER)


def with_own_connection(function):
    try:
        function()
    finally:
        connection.close()


def test_own_artifacts_are_not_deleted(run):
    store_configuration(run)
    store(run, "a")

    with pytest.raises(InUse):
        file_tree.delete(run, "config.json")
    file_tree.delete(run, "")

    assert [artifact.type for artifact in Artifact.objects.all()] == [ArtifactType.CONFIG]


# --- S3 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, 20 * CHUNK_BYTES], ids=["empty", "small", "in parts"])
def test_s3_download_returns_uploaded_bytes(s3, api, run, size):
    content = os.urandom(size)

    assert put(api, run, "a/b", content).json()["sha256"] == sha256(content)

    assert body(api.get(url(run, "a/b"))) == content
    assert len(objects_in(s3)) == 1


@pytest.mark.parametrize("sent", [0, 1, 10 * CHUNK_BYTES])
def test_s3_interrupted_upload_leaves_nothing(s3, api, run, sent):
    response = put_raw(api, run, "a", bytes(sent), CONTENT_LENGTH=str(20 * CHUNK_BYTES))

    assert response.status_code == 400
    assert objects_in(s3) == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=s3.bucket)
    assert not UnreferencedBlob.objects.exists()


def test_s3_wrong_checksum_leaves_nothing(s3, api, run):
    assert put(api, run, "a", **{"X-Checksum-Sha256": "0" * 64}).status_code == 400
    assert objects_in(s3) == []


def test_s3_replaced_bytes_are_deleted(s3, run, django_capture_on_commit_callbacks):
    store(run, "a", b"old")

    with django_capture_on_commit_callbacks(execute=True):
        artifact = store(run, "a", b"new")

    assert read(artifact) == b"new"
    assert len(objects_in(s3)) == 1
