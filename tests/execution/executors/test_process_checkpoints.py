"""Checkpoints that a process saves become artifacts: which, of which step, and what is logged."""

import errno
import hashlib
import io
from pathlib import Path

import pytest
from django.conf import settings
from django.db.models.functions import Now

from artifacts import storing
from artifacts.checkpoints import latest_sound_checkpoint
from artifacts.storage import artifact_storage
from artifacts.tar_stream import Changed, CheckedFile
from artifacts.unreferenced_blobs import UnreferencedBlob, UploadExpired
from core.files import names_in, open_file
from execution.executors import (
    checkpoint_scan,
    declarations,
    found_checkpoint,
    ingestion,
    other_files,
    postponement,
)
from execution.executors.attempt import Attempt
from execution.executors.found_checkpoint import FoundCheckpoint
from execution.executors.process import ProcessExecutor
from runs.executors import WorkState
from runs.models import LeaseLost, Recipe, Run
from tests.execution.executors.contract import poll
from tests.factories import RecipeFactory, WorkerFactory, running
from tests.saved_files import write, zipped
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

PREAMBLE = """
import json, os, pathlib, sys
sys.path.insert(0, {repository!r})
from tests.saved_files import hugging_face, safetensors, write, write_all, zipped
folder = pathlib.Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
metrics = pathlib.Path(os.environ["TRAINHUB_METRICS_FILE"])
def report(**row):
    with metrics.open("a") as file:
        file.write(json.dumps(row) + "\\n")
"""


@pytest.fixture
def executor():
    return ProcessExecutor()


@pytest.fixture
def started(executor, settings):
    def run_script(body):
        script = PREAMBLE.format(repository=str(settings.BASE_DIR)) + body
        recipe: Recipe = RecipeFactory(executor="process", command=["{python}", "-c", script])
        run = running(recipe=recipe)
        executor.start(run, run.worker)
        return run

    return run_script


@pytest.fixture
def at_its_end(started):
    """A run whose script has ended and has not been polled since."""

    def run_script(body):
        run = started(body)
        wait_until(Attempt.of(run).ending)
        return run

    return run_script


@pytest.fixture
def ended(executor, at_its_end):
    """A run whose script has ended: no file was looked at while the script wrote the next."""

    def run_script(body):
        run = at_its_end(body)
        wait_until(lambda: poll(executor, run).state is WorkState.FINISHED)
        return run

    return run_script


def go_on_once_stored(executor, run):
    """Poll until a checkpoint is stored, show that to the script, and poll until it has ended."""
    wait_until(lambda: poll(executor, run) and run.artifacts.checkpoints().exists())
    (Attempt.of(run).directory / "checkpoints" / "seen").touch()
    wait_until(lambda: poll(executor, run).state is WorkState.FINISHED)


def checkpoints_of(run):
    found = [
        (str(item.name), item.step, item.layout, str(item.damage))
        for item in run.artifacts.checkpoints()
    ]
    return sorted(found, key=lambda item: (item[1], item[0]))


def files_of(run):
    return sorted(run.artifacts.uploaded().values_list("file", flat=True))


def test_output_folder_of_a_hugging_face_trainer(ended):
    run = ended(
        "hugging_face(folder / 'checkpoint-10', 10); hugging_face(folder / 'checkpoint-20', 20)\n"
        "write_all(folder, 'model.safetensors', 'config.json', 'README.md')\n"
        "write(folder / 'runs' / 'events.out.tfevents.1')\n"
        "report(step=20, loss=1.0)"
    )

    assert checkpoints_of(run) == [
        ("第 10 步检查点", 10, "huggingface", ""),
        ("最终模型", 20, "model", ""),
        ("第 20 步检查点", 20, "huggingface", ""),
    ]
    assert latest_sound_checkpoint(run).layout == "huggingface"
    assert files_of(run) == ["checkpoints/README.md", "checkpoints/runs/events.out.tfevents.1"]


def test_pointer_is_no_checkpoint(ended):
    run = ended(
        "write(folder / 'global_step5' / 'mp_rank_00_model_states.pt')\n"
        "write(folder / 'latest', b'global_step5')"
    )

    assert checkpoints_of(run) == [("第 5 步检查点", 5, "deepspeed", "")]
    assert files_of(run) == ["checkpoints/latest"]


def test_step_without_a_name_is_the_last_one_reported(ended):
    run = ended("report(step=300, loss=1.0); write(folder / 'model_epoch_3.pt', age_seconds=0)")

    assert checkpoints_of(run) == [("第 300 步检查点", 300, "file", "")]
    run.refresh_from_db()
    assert run.step == 300


def test_declared_checkpoint_has_the_declared_step(ended):
    run = ended(
        "write(folder / 'any' / 'weights.dat')\n"
        "report(step=40, loss=1.0); report(checkpoint='any', step=30)"
    )

    assert checkpoints_of(run) == [("第 30 步检查点", 30, "folder", "")]


def test_file_written_again_is_no_more_of_the_declared_step(executor, started):
    run = started(
        "import time\n"
        "report(step=1, loss=1.0); write(folder / 'last.ckpt', zipped(b'1'))\n"
        "report(checkpoint='last.ckpt', step=1)\n"
        "while not (folder / 'seen').exists(): time.sleep(0.02)\n"
        "report(step=9, loss=1.0); write(folder / 'last.ckpt', zipped(b'9'), age_seconds=0)"
    )
    go_on_once_stored(executor, run)

    assert [step for _name, step, _layout, _damage in checkpoints_of(run)] == [1, 9]


def test_step_declared_later_counts(executor, started):
    run = started(
        "import time\n"
        "report(step=5, loss=1.0); write(folder / 'last.ckpt')\n"
        "while not (folder / 'seen').exists(): time.sleep(0.02)\n"
        "report(checkpoint='last.ckpt', step=4)"
    )
    go_on_once_stored(executor, run)

    assert [step for _name, step, _layout, _damage in checkpoints_of(run)] == [4]


@pytest.mark.parametrize("step", ['"step": 300.0', '"step": "300"', '"global_step": 300'])
def test_declared_step_is_taken_as_in_any_line(ended, step):
    line = '{"checkpoint": "last.weird", ' + step + "}"
    run = ended(
        "report(step=7, loss=1.0); write(folder / 'last.weird')\n"
        f"with metrics.open('a') as file: file.write({line!r} + '\\n')"
    )

    assert checkpoints_of(run) == [("第 300 步检查点", 300, "file", "")]


def test_absolute_path_in_the_folder_may_be_declared(ended):
    run = ended(
        "path = write(folder / 'shard.mymodel'); report(checkpoint=str(path), step=100, loss=1.0)"
    )

    assert checkpoints_of(run) == [("第 100 步检查点", 100, "file", "")]


@pytest.mark.parametrize("path", ["../metrics.jsonl", "/etc/passwd", ".", "", "a\x00b", "x" * 5000])
def test_path_that_cannot_be_declared_is_said_once_with_its_line(ended, path):
    run = ended(
        "report(step=1, loss=1.0)\n"
        f"for step in (2, 3): report(checkpoint={path!r}, step=step, loss=1.0)"
    )

    line = run.log_lines.get(source="metrics")
    assert "metrics.jsonl" in line.message
    assert "line 2:" in line.message
    assert line.level == "WARNING"


def test_declared_checkpoint_that_was_never_there_is_said(ended):
    run = ended("report(checkpoint='typo.pt', step=1)")

    assert "typo.pt" in run.log_lines.get(source="trainhub").message


def test_declared_folder_is_not_refused_for_its_texts(ended):
    run = ended(
        "write(folder / 'any' / 'model.pt'); write(folder / 'any' / 'log.json', b'{} {}')\n"
        "write(folder / 'any' / 'notes.json', b'{\"cut'); report(checkpoint='any', step=3)"
    )

    assert checkpoints_of(run) == [("第 3 步检查点", 3, "folder", "")]


def test_copy_of_a_checkpoint_is_not_of_a_later_step(ended):
    run = ended(
        "import shutil, time\n"
        "report(step=100, loss=1.0); write(folder / 'step_100.pt')\n"
        "report(step=500, loss=1.0); shutil.copyfile(folder / 'step_100.pt', folder / 'best.pt')"
    )

    assert checkpoints_of(run) == [("第 100 步检查点", 100, "file", "")]
    assert "best.pt" in run.log_lines.get(source="trainhub").message


def test_file_that_is_rewritten_while_it_is_copied_is_not_stored_as_it_was_read(ended, monkeypatch):
    read = CheckedFile.read
    rewritten = []

    def read_while_it_is_rewritten(self, size=-1):
        if not rewritten:
            rewritten.append(write(Path(self._file.name), zipped(b"second" * 100), age_seconds=0))
        return read(self, size)

    monkeypatch.setattr(CheckedFile, "read", read_while_it_is_rewritten)
    run = ended("write(folder / 'step_1.pt', zipped(b'first'))")

    assert rewritten
    assert [artifact.sha256 for artifact in run.artifacts.checkpoints()] in (
        [],
        [hashlib.sha256(zipped(b"second" * 100)).hexdigest()],
    )


def test_file_that_cannot_be_read_is_said_and_does_not_stop_the_run(ended, monkeypatch):
    def refuse(path, owner):
        if path.name == "step_2.pt":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, owner)

    monkeypatch.setattr(found_checkpoint, "open_file", refuse)
    run = ended("write(folder / 'step_1.pt'); write(folder / 'step_2.pt')")

    assert checkpoints_of(run) == [("第 1 步检查点", 1, "file", "")]
    line = run.log_lines.get(source="trainhub")
    assert "step_2.pt" in line.message
    assert "Permission denied" in line.message


def test_large_file_does_not_keep_others_from_being_kept(ended, monkeypatch):
    monkeypatch.setattr(other_files, "MAX_BYTES", 100)
    run = ended("write(folder / 'a.png', b'x' * 200); write(folder / 'README.md', b'text')")

    assert files_of(run) == ["checkpoints/README.md"]
    assert "a.png" in run.log_lines.get(source="trainhub").message


def test_too_many_declared_checkpoints_are_said_once(ended, monkeypatch):
    monkeypatch.setattr(declarations, "MAX_DECLARED", 2)
    run = ended(
        "for step in range(4):\n"
        "    write(folder / f'{step}.dat'); report(checkpoint=f'{step}.dat', step=step)"
    )

    assert [step for _name, step, _layout, _damage in checkpoints_of(run)] == [0, 1]
    [line] = run.log_lines.filter(message__contains="2")
    assert "metrics.jsonl" in line.message


def test_checkpoints_of_one_step_do_not_replace_each_other(ended):
    run = ended("write(folder / 'step_5.pt', b'one'); write(folder / 'best_step_5.pt', b'two')")

    assert len(checkpoints_of(run)) == 2


def test_damaged_checkpoint_is_shown_logged_and_not_resumed_from(ended):
    run = ended("write(folder / 'step_1.pt'); write(folder / 'step_2.pt', zipped()[:-30])")

    _sound, (_name, step, _layout, damage) = checkpoints_of(run)
    assert (step, "ZIP" in damage) == (2, True)
    assert latest_sound_checkpoint(run).step == 1
    assert "step_2.pt" in run.log_lines.get(source="trainhub").message


def test_name_that_is_not_utf8_does_not_stop_the_run(ended):
    run = ended("write(folder / os.fsdecode('检查点_step_7.pt'.encode('gbk')))")

    assert checkpoints_of(run) == [("第 7 步检查点", 7, "file", "")]


# --- errors of reading -----------------------------------------------------------------------


def failing_once(function, error, *, only=lambda _argument: True):
    failed = []

    def fail_once(argument, *more):
        if not failed and only(argument):
            failed.append(argument)
            raise error
        return function(argument, *more)

    return fail_once


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EMFILE, errno.EIO])
def test_error_that_passes_is_waited_for_at_the_end(executor, at_its_end, monkeypatch, number):
    monkeypatch.setattr(postponement, "FIRST_PAUSE_SECONDS", 0.0)
    run = at_its_end("write(folder / 'step_10.pt'); report(step=10, loss=1.0)")
    listing = failing_once(
        names_in, OSError(number, "cannot"), only=lambda path: path.name == "checkpoints"
    )
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_scan, "names_in", listing)
        first = poll(executor, run).state

    assert first is WorkState.STORING
    assert poll(executor, run).state is WorkState.FINISHED
    assert [step for _name, step, _layout, _damage in checkpoints_of(run)] == [10]


def test_error_of_reading_a_file_is_waited_for_at_the_end(executor, at_its_end, monkeypatch):
    monkeypatch.setattr(postponement, "FIRST_PAUSE_SECONDS", 0.0)
    run = at_its_end("write(folder / 'step_10.pt'); report(step=10, loss=1.0)")
    opening = failing_once(open_file, OSError(errno.EMFILE, "Too many open files"))
    monkeypatch.setattr(found_checkpoint, "open_file", opening)

    assert poll(executor, run).state is WorkState.STORING
    assert poll(executor, run).state is WorkState.FINISHED
    assert len(checkpoints_of(run)) == 1


def test_file_that_seems_to_change_at_the_end_is_read_again(executor, at_its_end, monkeypatch):
    monkeypatch.setattr(postponement, "FIRST_PAUSE_SECONDS", 0.0)
    run = at_its_end("write(folder / 'step_10.pt'); report(step=10, loss=1.0)")
    path = Attempt.of(run).directory / "checkpoints" / "step_10.pt"
    opening = failing_once(open_file, Changed(str(path)))
    monkeypatch.setattr(FoundCheckpoint, "problem", lambda *_arguments: None)
    monkeypatch.setattr(found_checkpoint, "open_file", opening)

    assert poll(executor, run).state is WorkState.STORING
    assert poll(executor, run).state is WorkState.FINISHED
    assert len(checkpoints_of(run)) == 1


def test_error_that_does_not_pass_is_given_up(executor, at_its_end, monkeypatch):
    monkeypatch.setattr(postponement, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(ingestion, "MAX_WAITS", 2)
    run = at_its_end("write(folder / 'step_10.pt'); report(step=10, loss=1.0)")

    def fail(path, owner):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(found_checkpoint, "open_file", fail)

    states = [poll(executor, run).state for _ in range(3)]

    assert states == [WorkState.STORING, WorkState.STORING, WorkState.FINISHED]
    assert run.log_lines.filter(message__contains="Input/output error").exists()


@pytest.mark.parametrize("make", ["mkdir()", "symlink_to('metrics.jsonl')"])
def test_metrics_file_that_is_none_does_not_keep_the_run_from_ending(ended, make):
    run = ended(f"metrics.{make}; write(folder / 'step_5.pt')")

    assert [step for _name, step, _layout, _damage in checkpoints_of(run)] == [5]
    assert run.log_lines.filter(source="metrics", message__contains="metrics.jsonl").exists()


# --- names -----------------------------------------------------------------------------------


def test_model_in_the_root_and_one_in_a_folder_named_model_are_two(ended):
    run = ended(
        "write(folder / 'model.safetensors', safetensors(b'1')); write(folder / 'config.json')\n"
        "write(folder / 'model' / 'model.safetensors'); write(folder / 'model' / 'config.json')\n"
        "report(step=20, loss=1.0)"
    )

    assert [name for name, _step, _layout, _damage in checkpoints_of(run)] == [
        "最终模型",
        "最终模型 model",
    ]


def test_line_and_file_of_the_same_moment_declare(ended):
    run = ended(
        "report(step=7, loss=1.0); path = write(folder / 'final.model', b'weights')\n"
        "report(checkpoint='final.model', step=3)\n"
        "for file in (path, metrics): os.utime(file, ns=(1_796_000_000_004_000_001,) * 2)"
    )

    assert [step for _name, step, _layout, _damage in checkpoints_of(run)] == [3]


def test_file_that_always_changes_while_it_is_copied_is_said_once(executor, started, monkeypatch):
    def change(self, size=-1):
        raise Changed("last.pt")

    with monkeypatch.context() as patch:
        patch.setattr(CheckedFile, "read", change)
        run = started(
            "import time; write(folder / 'last.pt'); report(step=1, loss=1.0)\n"
            "while not (folder / 'go').exists(): time.sleep(0.02)"
        )
        said = run.log_lines.filter(message__contains="last.pt")
        wait_until(lambda: poll(executor, run) and said.exists())
        for _ in range(5):
            poll(executor, run)
    (Attempt.of(run).directory / "checkpoints" / "go").touch()
    wait_until(lambda: poll(executor, run).state is WorkState.FINISHED)

    assert said.count() == 1
    assert len(checkpoints_of(run)) == 1


# --- bytes that nobody needs -----------------------------------------------------------------


def stored_files(run):
    root = Path(artifact_storage().path(f"{run.project_id}/{run.pk}"))
    return sorted(path.name for path in root.glob("step-*"))


@pytest.fixture
def lost_while_copying(executor, monkeypatch):
    """A run whose lease is lost when a checkpoint's bytes have just been copied."""
    put = storing.put_checkpoint

    def lose(run, content, **options):
        stored = put(run, content, **options)
        Run.objects.filter(pk=run.pk).update(worker=WorkerFactory())
        return stored

    def lost():
        body = "write(folder / 'step-1.pt', zipped())"
        script = PREAMBLE.format(repository=str(settings.BASE_DIR)) + body
        run = running(recipe=RecipeFactory(command=["{python}", "-c", script]))
        executor.start(run, run.worker)
        monkeypatch.setattr(storing, "put_checkpoint", lose)
        with pytest.raises(LeaseLost):
            wait_until(lambda: poll(executor, run).state is not WorkState.WORKING)
        monkeypatch.setattr(storing, "put_checkpoint", put)
        return run

    return lost


def test_bytes_copied_before_a_lost_lease_are_deleted(lost_while_copying):
    run = lost_while_copying()

    assert stored_files(run) == []
    assert not UnreferencedBlob.objects.exists()


def test_bytes_that_another_worker_has_recorded_stay():
    run = running()
    name = {"step": 1, "version": "v", "suffix": ".pt"}
    storing.announce_checkpoint(run, **name)
    late = storing.put_checkpoint(run, io.BytesIO(b"ha"), **name)
    stored = storing.put_checkpoint(run, io.BytesIO(b"ha"), **name)
    storing.claim_checkpoint(run, stored)
    artifact = storing.record_checkpoint(run, stored, step=1)

    storing.drop_unclaimed(run, late)

    assert artifact.problem() is None


def test_bytes_that_were_dropped_are_not_recorded():
    run = running()
    name = {"step": 1, "version": "v", "suffix": ".pt"}
    storing.announce_checkpoint(run, **name)
    stored = storing.put_checkpoint(run, io.BytesIO(b"ha"), **name)
    storing.drop_unclaimed(run, stored)

    with pytest.raises(UploadExpired):
        storing.claim_checkpoint(run, stored)


def test_bytes_of_a_killed_worker_are_swept(executor):
    run = running()
    name = {"step": 1, "version": "v", "suffix": ".pt"}
    storing.announce_checkpoint(run, **name)
    storing.put_checkpoint(run, io.BytesIO(b"ha"), **name)
    UnreferencedBlob.objects.update(since=Now() - 2 * UnreferencedBlob.ABANDONED_AFTER)

    executor.tidy()

    assert stored_files(run) == []
