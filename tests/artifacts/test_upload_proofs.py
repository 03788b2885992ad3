"""Uploaded checkpoints are proven whole before they count."""

import base64
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from artifacts import file_tree, upload_proofs, uploads
from artifacts.checkpoints import InvalidSource, latest_sound_checkpoint, resume_run
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import DamagedCheckpoint, InUse
from artifacts.s3_objects import BLOCK_BYTES
from artifacts.storage import ArtifactS3Storage, open_in_parts
from execution.executors.checkpoint_files import Damaged, fetch
from runs.actions import cancel_run
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.concurrency import in_parallel
from tests.factories import RecipeFactory, RunFactory
from tests.saved_files import content_of, dcp_metadata, index, recorded, safetensors, zipped

pytestmark = pytest.mark.django_db

SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
SHARDED = {
    "model.safetensors.index.json": index(*SHARDS),
    SHARDS[0]: safetensors(b"first"),
    SHARDS[1]: safetensors(b"second"),
}
DCP = {
    ".metadata": dcp_metadata("__0_0.distcp", "__1_0.distcp"),
    "__0_0.distcp": zipped(b"0"),
    "__1_0.distcp": zipped(b"1"),
}
DEEPSPEED = {
    name: zipped(name.encode())
    for name in [
        "mp_rank_00_model_states.pt",
        *(f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(3)),
    ]
}


@pytest.fixture(autouse=True)
def english():
    with translation.override("en"):
        yield


@pytest.fixture
def run():
    """An unmanaged run in progress."""
    return RunFactory(recipe=None, hyperparameters={}, status=RunStatus.RUNNING)


def store(run, path, content=None, **fields):
    content = content_of(path) if content is None else content
    return uploads.store(run, path, io.BytesIO(content), **fields)[0]


def store_all(run, folder, files):
    for name, content in files.items():
        store(run, f"{folder}/{name}", content)
    return run.artifacts.checkpoints().get()


# --- single files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("step-1.ckpt", zipped()[:-9], "the end of its ZIP archive is missing"),
        ("step-1.safetensors", safetensors()[:-1], "it has 108 of 109 bytes"),
        ("step-1.pt", b"", "it is empty"),
    ],
)
def test_cut_off_file_is_damaged_and_whole_once_it_is_uploaded_again(run, name, content, damage):
    assert str(store(run, name, content).damage) == damage
    assert latest_sound_checkpoint(run) is None

    assert store(run, name).damage == ""
    assert latest_sound_checkpoint(run).file == name


def test_damaged_file_does_not_take_the_place_of_a_whole_checkpoint(run):
    whole = store(run, "last.ckpt", zipped(b"whole"))

    damaged = store(run, "last.ckpt", zipped()[:-9])

    whole.refresh_from_db()
    assert (damaged.file, whole.file.startswith("last@")) == ("last.ckpt", True)
    assert latest_sound_checkpoint(run) == whole


def test_file_declared_as_a_checkpoint_by_its_client_is_proven_too(run):
    damaged = store(run, "any.bin", zipped()[:-9], type=ArtifactType.CHECKPOINT, step=5)
    again = store(run, "any.bin", zipped()[:-8])

    assert damaged.damage
    assert (again.pk, bool(again.damage)) == (damaged.pk, True)


def test_ordinary_file_needs_no_proof(run):
    assert store(run, "notes/data.npz", zipped()[:-9]).metadata == {}


@pytest.mark.parametrize("content", [b"weights", b"\xff" * 100])
def test_nothing_is_known_of_another_format_under_a_known_name(run, content):
    assert store(run, "checkpoint-1/model.safetensors", content).damage == ""


# --- folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "files"),
    [("checkpoint-100", SHARDED), ("step-100", DCP), ("global_step100", DEEPSPEED)],
    ids=["huggingface", "dcp", "deepspeed"],
)
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_folder_is_damaged_until_its_last_file_has_arrived(run, folder, files, order):
    names = sorted(files, reverse=order == "descending")
    seen = []
    for name in names:
        store(run, f"{folder}/{name}", files[name])
        checkpoint = run.artifacts.checkpoints().first()
        seen.append(checkpoint is not None and not checkpoint.damage)

    if files is not DEEPSPEED:  # the number of its ranks is not known
        assert seen == [False] * (len(names) - 1) + [True]
    assert latest_sound_checkpoint(run).step == 100


def test_damage_names_the_missing_file(run):
    checkpoint = store_all(run, "checkpoint-1", {**SHARDED, SHARDS[1]: b""})
    assert str(checkpoint.damage) == f"{SHARDS[1]}: its header is cut off"

    file_tree.delete(run, f"checkpoint-1/{SHARDS[1]}")

    checkpoint.refresh_from_db()
    assert f"{SHARDS[1]} is missing" in str(checkpoint.damage)


def test_folder_with_a_cut_off_part_becomes_whole_when_that_is_replaced(run):
    checkpoint = store_all(run, "step-1", {**DCP, "__1_0.distcp": DCP["__1_0.distcp"][:-5]})
    assert str(checkpoint.damage) == "__1_0.distcp: the end of its ZIP archive is missing"

    store(run, "step-1/__1_0.distcp", DCP["__1_0.distcp"])

    checkpoint.refresh_from_db()
    assert checkpoint.metadata == {}


def test_replaced_index_that_names_another_file_damages_its_folder(run):
    checkpoint = store_all(run, "checkpoint-1", SHARDED)

    store(run, "checkpoint-1/model.safetensors.index.json", index(*SHARDS, "c.safetensors"))

    checkpoint.refresh_from_db()
    assert "c.safetensors is missing" in str(checkpoint.damage)


def test_folder_of_a_trainer_needs_its_state(run):
    checkpoint = store_all(run, "checkpoint-1", {**SHARDED, "training_args.bin": zipped()})
    assert str(checkpoint.damage) == "trainer_state.json is missing"

    store(run, "checkpoint-1/trainer_state.json")

    checkpoint.refresh_from_db()
    assert checkpoint.damage == ""


def test_damage_of_a_nested_index_counts(run):
    folder = "checkpoint-1/pytorch_model_fsdp_0"
    checkpoint = store_all(run, folder, {".metadata": DCP[".metadata"]})

    assert checkpoint.folder == "checkpoint-1"
    assert "__0_0.distcp is missing" in str(checkpoint.damage)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_last_two_files_uploaded_at_once_make_the_folder_whole(run):
    store(run, "checkpoint-1/model.safetensors.index.json", SHARDED["model.safetensors.index.json"])

    results = in_parallel(
        *[lambda name=name: store(run, f"checkpoint-1/{name}", SHARDED[name]) for name in SHARDS]
    )

    assert [result for result in results if isinstance(result, Exception)] == []
    assert run.artifacts.checkpoints().get().damage == ""


@pytest.fixture
def read_under_lock(monkeypatch):
    """The keys that are read in a transaction, by a process that has read nothing before."""
    read = []

    def opened(key, *arguments):
        if connection.savepoint_ids:  # in the test's own transaction
            read.append(key)
        return open_in_parts(key, *arguments)

    monkeypatch.setattr(upload_proofs, "open_in_parts", opened)
    upload_proofs._proof.cache_clear()
    return read


@pytest.mark.parametrize(("folder", "files"), [("checkpoint-1", SHARDED), ("step-1", DCP)])
def test_no_bytes_are_read_while_a_run_is_locked(run, folder, files, read_under_lock):
    for name, content in files.items():
        upload_proofs._proof.cache_clear()
        store(run, f"{folder}/{name}", content)
    upload_proofs._proof.cache_clear()
    file_tree.delete(run, f"{folder}/{next(reversed(files))}")

    assert run.artifacts.checkpoints().get().damage
    assert read_under_lock == []


def test_query_count_of_an_upload_does_not_grow_with_the_folder(run):
    def queries(number):
        with CaptureQueriesContext(connection) as captured:
            store(run, f"checkpoint-1/model-{number:05d}-of-00030.safetensors")
        return len(captured)

    first = queries(1)
    for number in range(2, 30):
        last = queries(number)

    assert last == first


# --- what damaged checkpoints are not used for -----------------------------------------------


def test_newest_whole_checkpoint_is_kept_by_a_cancelled_run(run):
    store_all(run, "step-100", DCP)
    store(run, "step-200/.metadata", DCP[".metadata"])

    cancel_run(run, by=None)

    [kept] = run.artifacts.kept_at_cancel()
    assert kept.step == 100


def test_damaged_checkpoint_is_not_resumed_from(run):
    damaged = store(run, "step-200/.metadata", DCP[".metadata"])

    with pytest.raises(InvalidSource, match=r"__0_0\.distcp is missing"):
        resume_run(run, damaged, by=None, recipe=RecipeFactory())


def test_half_folder_that_an_earlier_version_took_is_not_used(run, tmp_path):
    checkpoint = store(run, "step-200/.metadata", DCP[".metadata"])
    checkpoint.set_damage("")
    checkpoint.save()

    assert latest_sound_checkpoint(run) is None
    with pytest.raises(Damaged, match=r"__0_0\.distcp is missing"):
        fetch(checkpoint, tmp_path / "resume")
    assert list((tmp_path / "resume").iterdir()) == []


def test_damaged_checkpoint_is_not_tagged_until_it_is_whole(run):
    checkpoint = store(run, "step-200/.metadata", DCP[".metadata"])
    with pytest.raises(DamagedCheckpoint, match=checkpoint.pk):
        checkpoint.tag(TagValue.RELEASED, notes="", by=None)

    store_all(run, "step-200", DCP)

    assert checkpoint.tag(TagValue.RELEASED, notes="", by=None).value == "发布"


@pytest.mark.parametrize(
    ("language", "text"),
    [("zh-hans", "已损坏，不能打标签"), ("en", "is damaged and cannot be tagged")],
)
def test_tagging_a_damaged_checkpoint_by_the_api_is_refused(run, language, text):
    checkpoint = store(run, "step-1.pt", zipped()[:-9])
    address = f"/projects/{run.project_id}/runs/{run.pk}/artifacts/{checkpoint.pk}/tag"

    response = ApiClient().post_json(
        address, {"tag": "发布"}, headers={"Accept-Language": language}
    )

    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert error["code"] == "damaged_checkpoint"
    assert text in error["detail"]
    assert not checkpoint.tags.exists()


# --- S3 --------------------------------------------------------------------------------------


@pytest.fixture
def fetched(monkeypatch):
    """The ranges fetched from S3."""
    ranges = []
    read_range = ArtifactS3Storage.read_range

    def recorded(storage, name, first, end):
        ranges.append((first, end))
        return read_range(storage, name, first, end)

    monkeypatch.setattr(ArtifactS3Storage, "read_range", recorded)
    return ranges


def test_s3_proof_fetches_only_the_ends_of_a_file(s3, run, fetched):
    content = zipped(bytes(10 * BLOCK_BYTES))

    assert store(run, "step-1.pt", content).damage == ""
    assert store(run, "step-2.pt", content[:-9]).damage

    assert sum(end - first for first, end in fetched) <= 6 * BLOCK_BYTES


def test_s3_folder_becomes_whole(s3, run):
    assert store_all(run, "checkpoint-1", SHARDED).damage == ""
    assert latest_sound_checkpoint(run).step == 1


def test_s3_file_in_parts_has_the_same_bytes(s3, run):
    content = bytes(range(256)) * 3000
    artifact = store(run, "a", content)

    with open_in_parts(artifact.storage_key, len(content)) as file:
        file.seek(BLOCK_BYTES - 3)
        across = file.read(10)
        file.seek(-5, io.SEEK_END)
        end = file.read()

    assert across == content[BLOCK_BYTES - 3 : BLOCK_BYTES + 7]
    assert end == content[-5:]


def test_s3_missing_bytes_are_damage(s3, run):
    artifact = store(run, "checkpoint-1/model.safetensors")
    s3.delete_object(Bucket=s3.bucket, Key=f"kept/here/{artifact.storage_key}")
    upload_proofs._proof.cache_clear()

    assert "missing" in str(upload_proofs.folder_problem(run, "checkpoint-1"))


# --- one checkpoint of several files ---------------------------------------------------------


def store_tree(run, files, *, reverse):
    for path in sorted(files, reverse=reverse):
        store(run, path)
    return [(item.folder or item.file, item.step) for item in run.artifacts.checkpoints()]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["step-400/.metadata", "step-400/__0_0.distcp", "step-400/train_state.pt"],
         ("step-400", 400)),
        (["step_100/model.pt", "step_100/optimizer.pt"], ("step_100", 100)),
        ([f"step_100/{name}" for name in (*SHARDED, "config.json", "optimizer.pt")],
         ("step_100", 100)),
        (["step_2/model.safetensors", "step_2/random_states_0.pkl"], ("step_2", 2)),
        (["checkpoints/final/train_state.pt", "checkpoints/final/.metadata",
          "checkpoints/final/__0_0.distcp"], ("checkpoints/final", 0)),
        (["epoch=1-step=200/epoch=1-step=200.ckpt", "epoch=1-step=200/metadata.yaml"],
         ("epoch=1-step=200/epoch=1-step=200.ckpt", 200)),
        (["checkpoints/step_5.pt", "checkpoints/README.md"], ("checkpoints/step_5.pt", 5)),
    ],
)  # fmt: skip
def test_files_of_one_save_are_one_checkpoint(run, files, expected, reverse):
    assert store_tree(run, files, reverse=reverse) == [expected]


@pytest.mark.parametrize(
    "path",
    [
        "tmp-checkpoint-100/model.safetensors",
        "checkpoints/.tmp_step_5.pt",
        "samples/step_500/0.png",
        "step_500/metrics.json",
    ],
)
def test_file_that_is_no_checkpoint(run, path):
    assert store(run, path).type == ArtifactType.FILE


def test_part_of_a_folder_that_is_in_use_cannot_be_replaced(run):
    store_tree(run, ["final/.metadata", "final/train_state.pt"], reverse=False)
    checkpoint = run.artifacts.checkpoints().get()
    checkpoint.tag(TagValue.RELEASED, notes="", by=None)

    with pytest.raises(InUse):
        store(run, "final/train_state.pt", zipped(b"other"))


def test_step_recorded_in_the_file_counts(run):
    run.change(step=10**9)
    last = base64.b64decode(recorded("lightning")["last.ckpt"]["base64"])

    assert store(run, "last.ckpt", last).step == 4


@pytest.mark.parametrize("order", [list(DCP), list(reversed(DCP))])
def test_folder_of_two_saves_is_damaged_until_all_of_it_has_come(run, order):
    store_all(run, "last", DCP)
    later = {
        ".metadata": dcp_metadata("__0_0.distcp", "__1_0.distcp") + b"later",
        "__0_0.distcp": zipped(b"later 0"),
        "__1_0.distcp": zipped(b"later 1"),
    }

    damages = []
    for name in order:
        store(run, f"last/{name}", later[name])
        damages.append(run.artifacts.checkpoints().get().damage)

    assert ["earlier save" in str(damage) for damage in damages] == [True, True, False]
    assert damages[-1] == ""
    [line] = run.log_lines.all()
    assert "last" in line.message


def test_shard_that_no_index_names_is_left_from_an_earlier_save(run):
    store_all(run, "last", {**DCP, "__2_0.distcp": zipped(b"2")})

    for name, content in DCP.items():
        store(run, f"last/{name}", content + b"later" if name == ".metadata" else content)

    assert run.artifacts.checkpoints().get().damage == ""


def test_part_that_comes_again_with_the_same_bytes_is_of_the_later_save(run):
    store_all(run, "checkpoint-100", SHARDED)

    later = SHARDED | dict.fromkeys(SHARDS, safetensors(b"later"))
    for name, content in later.items():  # the index first, and as it was
        store(run, f"checkpoint-100/{name}", content)

    assert run.artifacts.checkpoints().get().damage == ""


def test_part_that_came_again_long_before_is_not_of_the_later_save(run, monkeypatch):
    store_all(run, "last", DCP)
    monkeypatch.setattr(upload_proofs, "SAVE_SECONDS", 0.0)
    store(run, "last/__0_0.distcp", DCP["__0_0.distcp"])

    store(run, "last/.metadata", DCP[".metadata"] + b"later")
    store(run, "last/__1_0.distcp", zipped(b"later"))

    assert "__0_0.distcp" in str(run.artifacts.checkpoints().get().damage)
