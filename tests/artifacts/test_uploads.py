"""Files that clients send: whole or not there, and nothing of TrainHub's own touched."""

import base64
import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from artifacts import trees, uploads
from artifacts.loose_bytes import LooseBytes, UploadExpired
from artifacts.models import Artifact, ArtifactGone, ArtifactType, InUse, TagValue
from artifacts.registry import RegisteredModel, RunFile, Source
from artifacts.storage import CHUNK_BYTES, artifact_storage
from runs.actions import resume_run
from runs.executors.checkpoint_files import Damaged, fetch
from runs.models import Run
from runs.outputs import latest_sound_checkpoint, store_configuration
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import RecipeFactory, RunFactory, checkpoint, damage, sha256, stored_path
from tests.storage import everything_in, objects_in
from tests.waiting import wait_until
from trainhub.ids import new_id

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
    """With the WSGI environment as a server makes it."""
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


# --- what is kept ----------------------------------------------------------------------------


def test_upload_is_an_artifact_of_its_run(api, run):
    response = put(api, run, "plots/损失.png", b"png")

    assert response.status_code == 201
    content = response.json()
    assert content["id"].startswith("file_")
    assert (content["type"], content["name"]) == ("file", "损失.png")
    assert (content["size_bytes"], content["sha256"]) == (3, sha256(b"png"))
    assert content["path"] == f"s3://artifacts/{run.project_id}/{run.pk}/files/plots/损失.png"
    listed = api.get(f"/projects/{run.project_id}/runs/{run.pk}/artifacts").json()["items"]
    assert listed == [content]


def test_upload_comes_back_as_it_was(api, run):
    content = os.urandom(3 * CHUNK_BYTES + 1)

    put(api, run, "a/b.bin", content)

    assert body(api.get(url(run, "a/b.bin"))) == content


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data", ""])
def test_body_is_the_file_whatever_its_type(api, run, kind):
    response = api.put(url(run, "a"), b"a=1&b", content_type=kind)

    assert response.status_code == 201
    assert read(Artifact.objects.get()) == b"a=1&b"


def test_file_larger_than_django_holds_in_memory_is_taken(api, run, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    assert put(api, run, "a", bytes(1000)).status_code == 201


def test_range_is_answered_with_that_part(api, run):
    put(api, run, "a", b"0123456789")

    response = api.get(url(run, "a"), headers={"Range": "bytes=2-4"})

    assert response.status_code == 206
    assert body(response) == b"234"


def test_empty_file_is_a_file(api, run):
    assert put(api, run, "a/__init__.py", b"").status_code == 201
    assert Artifact.objects.get().size_bytes == 0


def test_run_that_is_over_may_still_get_files(api):
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

    for path in ("b", "a", "a/b/c", "../a"):
        assert api.get(url(run, path)).status_code == 404


@pytest.mark.parametrize("path", ["../a", "a/../../b", "a//b", "/a", "a%5Cb", "a%00b", "./a", "a/"])
def test_bad_path_is_refused(api, run, root, path):
    response = put(api, run, path)

    assert response.status_code == 400
    assert (detail(response)["code"], detail(response)["attr"]) == ("invalid_path", "path")
    assert everything_in(root) == []


# --- replacing and conflicts -----------------------------------------------------------------


def test_same_path_again_replaces_the_bytes(api, run, root, django_capture_on_commit_callbacks):
    first = put(api, run, "a", b"old").json()

    with django_capture_on_commit_callbacks(execute=True):
        response = put(api, run, "a", b"new")

    assert response.status_code == 200
    assert response.json()["id"] == first["id"]
    assert response.json()["sha256"] == sha256(b"new")
    assert body(api.get(url(run, "a"))) == b"new"
    assert len(everything_in(root)) == 1
    assert not LooseBytes.objects.exists()


def test_reader_keeps_the_bytes_it_opened(api, run, django_capture_on_commit_callbacks):
    put(api, run, "a", b"old")
    response = api.get(url(run, "a"))

    with django_capture_on_commit_callbacks(execute=True):
        put(api, run, "a", b"new")

    assert body(response) == b"old"


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b/c", "a/b"), ("a/b/c", "a")])
def test_file_and_folder_of_one_path_exclude_each_other(api, run, first, second):
    put(api, run, first)

    response = put(api, run, second)

    assert response.status_code == 409
    assert detail(response)["code"] == "path_taken"
    assert [artifact.file for artifact in Artifact.objects.all()] == [first]


def test_names_that_begin_alike_are_no_conflict(api, run):
    for path in ("a", "a.b", "a_c/d", "a%25/e"):
        assert put(api, run, path).status_code == 201


@pytest.mark.parametrize("path", ["config.json", "tensorboard", "tensorboard/x"])
def test_path_of_trainhubs_own_names_another_file(api, run, path):
    config = store_configuration(run)
    events = run.artifacts.record_events(run, run.artifacts.put_events(run, io.BytesIO(b"e")))

    response = put(api, run, path, b"mine")
    store_configuration(run)

    assert response.status_code == 201
    for own in (config, events):
        own.refresh_from_db()
        assert own.problem() is None
    assert body(api.get(url(run, path))) == b"mine"


def test_file_in_the_way_of_a_checkpoint_to_come_stays(run):
    mine = store(run, "step-00000100.pt", b"mine")

    own = checkpoint(run, step=100)

    mine.refresh_from_db()
    assert own.pk != mine.pk
    assert read(mine) == b"mine"
    assert own.problem() is mine.problem() is None


@with_two_connections
def test_of_uploads_at_once_one_wins_whole(run, root):
    contents = [bytes([number]) * 100_000 for number in range(4)]

    results = in_parallel(*[lambda c=content: store(run, "a", c) for content in contents])

    assert [result for result in results if isinstance(result, Exception)] == []
    artifact = Artifact.objects.get()
    assert artifact.problem() is None
    assert read(artifact) in contents
    assert len(everything_in(root)) == 1
    assert not LooseBytes.objects.exists()


@with_two_connections
def test_of_a_file_and_a_folder_at_once_one_is_refused(run, root):
    results = in_parallel(lambda: store(run, "a"), lambda: store(run, "a/b"))

    assert sorted(isinstance(result, Exception) for result in results) == [False, True]
    assert len(everything_in(root)) == Artifact.objects.count() == 1


# --- nothing is left -------------------------------------------------------------------------


def nothing_is_left(root):
    return (
        everything_in(root) == []
        and not Artifact.objects.exists()
        and not LooseBytes.objects.exists()
    )


@pytest.mark.parametrize("sent", [0, 1, 2 * CHUNK_BYTES + 1])
def test_body_shorter_than_announced_leaves_nothing(api, run, root, sent):
    response = put_raw(api, run, "a", bytes(sent), CONTENT_LENGTH=str(3 * CHUNK_BYTES))

    assert response.status_code == 400
    assert detail(response)["code"] == "incomplete_upload"
    assert nothing_is_left(root)


def test_interrupted_replacement_leaves_what_was_there(api, run, root):
    put(api, run, "a", b"old")

    put_raw(api, run, "a", b"ne", CONTENT_LENGTH="3")

    assert body(api.get(url(run, "a"))) == b"old"
    assert len(everything_in(root)) == 1


class Vanishing(io.RawIOBase):
    """A client that goes away."""

    def read(self, size=-1):
        raise OSError("connection reset")


def test_client_that_vanishes_leaves_nothing(api, run, root):
    environ = {"wsgi.input": Vanishing(), "CONTENT_LENGTH": "10"}

    response = api.put(url(run, "a"), **environ)

    assert response.status_code == 400
    assert nothing_is_left(root)


def test_body_of_unknown_length_is_refused(api, run, root):
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    response = put_raw(api, run, "a", b"content", **environ)

    assert response.status_code == 411
    assert nothing_is_left(root)


def test_body_of_unknown_length_is_taken_with_its_checksum(api, run):
    environ = {"wsgi.input_terminated": True, "HTTP_X_CHECKSUM_SHA256": sha256(b"content")}

    response = put_raw(api, run, "a", b"content", **environ)

    assert response.status_code == 201
    assert read(Artifact.objects.get()) == b"content"


def test_empty_body_of_unknown_length_is_an_empty_file(api, run):
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    assert put_raw(api, run, "a", b"", **environ).status_code == 201


def test_chunks_that_the_server_cannot_read_are_refused(api, run, root):
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
def test_checksum_that_is_right_is_taken(api, run, headers):
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
def test_checksum_that_is_wrong_leaves_nothing(api, run, root, headers):
    assert put(api, run, "a", **headers).status_code == 400
    assert nothing_is_left(root)


def test_run_that_is_deleted_meanwhile_leaves_nothing(run, root, api, monkeypatch):
    def gone(pk):
        raise Run.DoesNotExist

    monkeypatch.setattr(Run.objects, "lock", gone)

    assert put(api, run, "a").status_code == 404
    assert nothing_is_left(root)


def test_what_a_killed_server_left_is_swept_away_by_a_later_upload(api, run, root):
    left = f"{run.project_id}/{run.pk}/.files/left"
    artifact_storage().save(left, io.BytesIO(b"half"))
    two_days_ago = timezone.now() - 2 * LooseBytes.ABANDONED
    LooseBytes.objects.create(key=left, since=two_days_ago)
    LooseBytes.objects.create(key=f"{left}-just-now")

    artifact = store(run, "a")

    assert everything_in(root) == [stored_path(artifact).name]
    assert [loose.key for loose in LooseBytes.objects.all()] == [f"{left}-just-now"]


def test_upload_whose_bytes_were_swept_away_is_refused(run, root, monkeypatch):
    def slowly(*args, **kwargs):
        LooseBytes.objects.drop([loose.key for loose in LooseBytes.objects.all()])
        return stored(*args, **kwargs)

    stored = uploads.put
    monkeypatch.setattr(uploads, "put", slowly)

    with pytest.raises(UploadExpired):
        store(run, "a")

    assert not Artifact.objects.exists()
    assert everything_in(root) == []


def test_bytes_that_the_storage_does_not_delete_are_in_nobodys_way(run, root, monkeypatch):
    two_days_ago = timezone.now() - 2 * LooseBytes.ABANDONED
    stuck = LooseBytes.objects.create(key="stuck", since=two_days_ago)

    def refuse(storage, name):
        raise PermissionError(name)

    monkeypatch.setattr("artifacts.storage.DurableFileSystemStorage.delete", refuse)

    store(run, "a")

    stuck.refresh_from_db()
    assert stuck.since > two_days_ago  # tried, and behind all others


def test_run_in_the_trash_takes_no_file(api, run, root):
    run.change(deleted_at=timezone.now())

    assert put(api, run, "a").status_code == 400
    assert everything_in(root) == []


def test_other_bytes_of_a_checkpoint_have_nothing_of_what_was_said_of_the_old(api, run):
    put(api, run, "ck/last.ckpt", b"old")
    put(api, run, "ck/aliases.txt", b"['best']")

    assert put(api, run, "ck/last.ckpt", b"new").json()["metadata"] == {}


# --- checkpoints -----------------------------------------------------------------------------


def test_client_may_say_what_a_file_is(api, run):
    content = put(api, run, "weights.bin", query="?type=checkpoint&step=70").json()

    assert content["id"].startswith("ckpt_")
    assert (content["type"], content["step"]) == ("checkpoint", 70)
    assert content["name"] == "第 70 步检查点"


def test_file_keeps_what_it_was_said_to_be(api, run):
    put(api, run, "weights.bin", query="?type=checkpoint&step=70")

    content = put(api, run, "weights.bin", b"more", query="?step=80").json()

    assert (content["type"], content["step"]) == ("checkpoint", 80)


def test_other_type_is_another_artifact(api, run, root, django_capture_on_commit_callbacks):
    put(api, run, "weights.bin")

    with django_capture_on_commit_callbacks(execute=True):
        response = put(api, run, "weights.bin", query="?type=checkpoint")

    assert response.status_code == 200
    assert response.json()["id"].startswith("ckpt_")
    assert Artifact.objects.count() == len(everything_in(root)) == 1


@pytest.mark.parametrize("query", ["?type=weights", "?step=-1", "?step=x", f"?step={2**63}"])
def test_bad_query_is_refused(api, run, query):
    assert put(api, run, "a", query=query).status_code == 400
    assert not Artifact.objects.exists()


def test_checkpoint_without_a_step_in_its_name_is_of_the_runs(run):
    Run.objects.filter(pk=run.pk).update(step=40)

    assert store(run, "last/last.ckpt").step == 40


def test_logged_checkpoint_is_tagged_and_resumed_from():
    source = RunFactory(recipe=None, hyperparameters={})
    artifact = store(source, "epoch=1-step=200/epoch=1-step=200.ckpt", b"weights")

    artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    run = resume_run(source, artifact, by=None, recipe=RecipeFactory())

    assert (run.resumed_from, run.start_step) == (artifact, 200)
    assert latest_sound_checkpoint(source) == artifact


def test_what_the_executor_took_in_goes_before_what_the_script_logged(run):
    own = checkpoint(run, step=100)
    store(run, "checkpoints/step-200.pt")

    assert run.checkpoints().first() == own


def test_checkpoint_in_use_makes_way_and_keeps_its_bytes(run):
    old = store(run, "last/last.ckpt", b"old")
    old.tag(TagValue.RELEASED, notes="", by=None)

    new = store(run, "last/last.ckpt", b"new")

    old.refresh_from_db()
    assert new.pk != old.pk
    assert (new.file, read(new)) == ("last/last.ckpt", b"new")
    assert read(old) == b"old"
    assert old.file == f"last/last@{old.pk.removeprefix('ckpt_')}.ckpt"
    assert trees.find(run, old.file) == old


def test_checkpoint_in_use_sent_once_more_is_the_same(run, root):
    old = store(run, "last/last.ckpt", b"old")
    old.tag(TagValue.RELEASED, notes="", by=None)

    assert store(run, "last/last.ckpt", b"old") == old
    assert len(everything_in(root)) == 1
    assert not LooseBytes.objects.exists()


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


def test_folder_is_resumed_from_as_the_folder_it_was(run, tmp_path):
    folder = fetch(store_folder(run), tmp_path / "resume")

    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}
    assert folder.name == "checkpoint-200"
    assert found == FOLDER


def test_folder_with_a_damaged_file_is_damaged(run, tmp_path):
    main = store_folder(run)
    damage(run.artifacts.get(file="out/checkpoint-200/optimizer.pt"))

    assert main.problem() == "its sha256 is not the recorded one"
    with pytest.raises(Damaged):
        fetch(main, tmp_path / "resume")
    assert list((tmp_path / "resume").iterdir()) == []


def test_folder_in_use_keeps_its_files(run):
    store_folder(run).tag(TagValue.CANDIDATE, notes="", by=None)

    with pytest.raises(InUse):
        store(run, "out/checkpoint-200/optimizer.pt", b"other")
    store(run, "out/checkpoint-200/optimizer.pt", FOLDER["optimizer.pt"])

    assert read(run.artifacts.get(file="out/checkpoint-200/optimizer.pt")) == b"optimizer"


# --- what loggers write beside a checkpoint --------------------------------------------------

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


def test_checkpoint_tells_what_its_logger_wrote_beside_it(api, run):
    log_as_lightning(run, "epoch=1-step=200")

    query = {"type": "checkpoint"}
    address = f"/projects/{run.project_id}/runs/{run.pk}"
    [item] = api.get(f"{address}/artifacts", query).json()["items"]
    page = api.get(f"/dashboard{address}").content.decode()

    assert item["metadata"] == {
        "aliases": ["latest", "best"],
        "score": 0.25,
        "monitor": "val_loss",
        "mode": "min",
    }
    assert "val_loss 0.25" in page


def test_step_that_the_metadata_knows_is_the_checkpoints(run):
    artifact = log_as_lightning(run, "best")

    assert (artifact.step, artifact.name) == (200, "第 200 步检查点")


def test_alias_is_of_the_last_checkpoint_that_got_it(run):
    first = log_as_lightning(run, "step=100")
    second = log_as_lightning(run, "step=200", aliases="['latest']")

    first.refresh_from_db()
    assert first.metadata["aliases"] == ["best"]
    assert second.metadata["aliases"] == ["latest"]


def test_metadata_of_no_checkpoint_is_a_file(run):
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
def test_metadata_that_is_nothing_of_the_kind_is_a_file(run, text):
    artifact = log_as_lightning(run, "step=100", aliases=text, metadata=text)

    assert artifact.metadata == {}
    assert Artifact.objects.count() == 3


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(repr)))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_text_fails_the_upload(run, text):
    log_as_lightning(run, "step=100", aliases=text, metadata=text)


def test_checkpoint_that_was_deleted_meanwhile_is_said_to_be_gone(run):
    artifact = store(run, "last/last.ckpt")
    trees.delete(run, "last")

    with pytest.raises(ArtifactGone):
        artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    with pytest.raises(ArtifactGone):
        resume_run(run, artifact, by=None)


# --- the tree --------------------------------------------------------------------------------


def listed(run, folder=""):
    return {entry.path: entry.size_bytes for entry in trees.entries(run, folder)}


def test_tree_has_trainhubs_own_and_what_clients_logged(run):
    config = store_configuration(run)
    events = run.artifacts.record_events(run, run.artifacts.put_events(run, io.BytesIO(b"e")))
    store(run, "a/b/c", b"123")
    store(run, "a/d", b"1")

    assert listed(run) == {"a": None, "config.json": config.size_bytes, "tensorboard": None}
    assert listed(run, "a") == {"a/b": None, "a/d": 1}
    assert listed(run, "tensorboard") == {f"tensorboard/events.out.tfevents.{run.pk}": 1}
    assert listed(run, "a/d") == listed(run, "nothing") == {}
    assert trees.find(run, events.tree_path) == events


def test_tree_shows_the_clients_file_where_both_have_one(run):
    store_configuration(run)
    run.artifacts.record_events(run, run.artifacts.put_events(run, io.BytesIO(b"e")))
    store(run, "config.json", b"1")
    store(run, "tensorboard", b"22")

    assert listed(run) == {"config.json": 1, "tensorboard": 2}


def test_tree_of_many_files_takes_few_queries(run, django_assert_max_num_queries):
    for number in range(30):
        store(run, f"a/{number}")

    with django_assert_max_num_queries(2):
        assert len(listed(run, "a")) == 30


def test_folder_among_thousands_of_files_is_found_by_index(run):
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


def test_deleted_folder_is_gone_with_its_bytes(run, root, django_capture_on_commit_callbacks):
    for path in ("a/b/c", "a/d", "ab"):
        store(run, path)

    with django_capture_on_commit_callbacks(execute=True):
        assert trees.delete(run, "a") == 2

    assert listed(run) == {"ab": 7}
    assert len(everything_in(root)) == 1
    assert not LooseBytes.objects.exists()


@pytest.mark.parametrize(
    "path", ["", "out", "out/checkpoint-200", "out/checkpoint-200/optimizer.pt"]
)
def test_files_of_a_checkpoint_in_use_are_not_deleted(run, path):
    tag(store_folder(run))

    with pytest.raises(InUse):
        trees.delete(run, path)

    assert Artifact.objects.count() == len(FOLDER)


def resume(artifact):
    resume_run(artifact.run, artifact, by=None)


def register(artifact):
    model = RegisteredModel.objects.register("summarizer", description="", tags={}, by=None)
    source = Source("s3://x", "s3://x", RunFile(artifact.run_id, artifact.file))
    model.add_version(source, run_link="", description="", tags={}, by=None)


@pytest.mark.parametrize("rely_on", [tag, resume, register])
def test_folder_stays_whoever_relies_on_a_checkpoint_in_it(run, rely_on):
    others = [store(run, f"out/{number}.ckpt") for number in range(3)]
    rely_on(others[1])

    with pytest.raises(InUse, match=others[1].pk):
        trees.delete(run, "out")

    assert set(run.artifacts.all()) == set(others)


def test_checkpoint_in_use_elsewhere_keeps_no_other_folder(run):
    tag(store(run, "best/step=1.ckpt"))
    store(run, "out/step=1.ckpt")

    assert trees.delete(run, "out") == 1


def queries_to_delete(run, checkpoints):
    for number in range(checkpoints):
        store(run, f"out/{number}.ckpt")
    with CaptureQueriesContext(connection) as queries:
        assert trees.delete(run, "out") == checkpoints
    return len(queries)


def test_folder_of_many_checkpoints_is_deleted_with_as_few_queries(run):
    assert queries_to_delete(run, checkpoints=20) == queries_to_delete(run, checkpoints=2)


@with_two_connections
def test_tag_that_deletion_has_to_wait_for_keeps_the_checkpoints_files(run):
    main = store_folder(run)

    def delete():
        with pytest.raises(InUse):
            trees.delete(run, "out/checkpoint-200/optimizer.pt")

    with ThreadPoolExecutor(1) as pool:
        with transaction_elsewhere(lambda: tag(main)):
            deletion = pool.submit(on_a_connection_of_its_own, delete)
            wait_until(somebody_waits_for_a_lock)
        deletion.result(timeout=30)

    assert run.artifacts.count() == len(FOLDER)


def on_a_connection_of_its_own(function):
    try:
        function()
    finally:
        connection.close()


def somebody_waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.rowcount


def test_trainhubs_own_is_not_deleted(run):
    store_configuration(run)
    store(run, "a")

    with pytest.raises(InUse):
        trees.delete(run, "config.json")
    trees.delete(run, "")

    assert [artifact.type for artifact in Artifact.objects.all()] == [ArtifactType.CONFIG]


# --- S3 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, 20 * CHUNK_BYTES], ids=["empty", "small", "in parts"])
def test_s3_upload_comes_back_as_it_was(s3, api, run, size):
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
    assert not LooseBytes.objects.exists()


def test_s3_wrong_checksum_leaves_nothing(s3, api, run):
    assert put(api, run, "a", **{"X-Checksum-Sha256": "0" * 64}).status_code == 400
    assert objects_in(s3) == []


def test_s3_replaced_bytes_go(s3, run, django_capture_on_commit_callbacks):
    store(run, "a", b"old")

    with django_capture_on_commit_callbacks(execute=True):
        artifact = store(run, "a", b"new")

    assert read(artifact) == b"new"
    assert len(objects_in(s3)) == 1
