"""manage.py import_tensorboard: log folders that real writers wrote."""

import errno
import io
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError
from tensorboardX.proto import types_pb2 as types
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.record_writer import RecordWriter
from tqdm import tqdm

from metrics.imports import command, past_runs
from metrics.imports.past_runs import Result
from metrics.imports.tensorboard import LogFolder, log_folders
from metrics.models import MetricPoint
from projects.models import ProjectStatus
from runs.models import EventKind, Run
from runs.reports import MAX_BYTES, MAX_NAMES
from runs.status import RunStatus
from tests.concurrency import in_parallel
from tests.recorded import TENSORBOARD, TRAINER, event_file

pytestmark = pytest.mark.django_db


def scalar(step, wall_time=1_700_000_000.0):
    summary = Summary(value=[Summary.Value(tag="x", simple_value=1.0)])
    return Event(wall_time=wall_time, step=step, summary=summary)


def arguments(text):
    tensor = TensorProto(dtype=types.DT_STRING, string_val=[text.encode("utf-8")])
    value = Summary.Value(tag="args/text_summary", tensor=tensor)
    return Event(wall_time=1_700_000_000.0, summary=Summary(value=[value]))


def write_events(path, *events):
    path.parent.mkdir(exist_ok=True)
    writer = RecordWriter(str(path))
    for event in events:
        writer.write(event.SerializeToString())
    writer.close()


def test_each_folder_with_event_files_is_a_run(bring_in):
    said = bring_in("import_tensorboard", TENSORBOARD)

    assert set(Run.objects.values_list("name", flat=True)) == {
        "lightning/version_0",
        "purged",
        "tensors",
        "torch_writer",
        "torch_writer/compared_a",
        "torch_writer/compared_b",
        "torch_writer/trial",
    }
    assert "Runs: 7 new" in said


def test_run_has_ended_at_its_last_event_and_has_no_recipe(bring_in, project):
    bring_in("import_tensorboard", TENSORBOARD / "tensors")

    run = Run.objects.get()
    assert (run.project_id, run.name, run.status) == (project.pk, "tensors", RunStatus.COMPLETED)
    assert run.is_unmanaged
    assert run.started_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert run.finished_at > run.started_at
    assert (run.step, run.progress, run.metrics) == (3, 1.0, {"epoch_loss": 0.25})
    event = run.events.get()
    assert event.kind == EventKind.CREATED
    assert str(TENSORBOARD / "tensors") in str(event.reason)
    project.refresh_from_db()
    assert project.run_count == 1


def test_points_keep_their_steps_and_times(bring_in, points_of):
    bring_in("import_tensorboard", TENSORBOARD / "tensors")

    assert points_of(Run.objects.get(), "epoch_loss") == [
        (step, pytest.approx(1 / (step + 1))) for step in range(4)
    ]
    assert MetricPoint.objects.order_by("step")[2].timestamp_ms == 1_700_000_002_000


def test_points_that_were_reported_again_are_there_once(bring_in, points_of):
    bring_in("import_tensorboard", TENSORBOARD / "purged")

    assert points_of(Run.objects.get(), "loss")[3:] == [(3, 13.0), (4, 14.0), (5, 15.0)]


def test_what_a_later_file_reports_again_replaces_what_was_imported(bring_in, points_of, tmp_path):
    purged = sorted((TENSORBOARD / "purged").iterdir())
    for path in purged[:1]:
        shutil.copy(path, tmp_path)
    bring_in("import_tensorboard", tmp_path)
    before = points_of(Run.objects.get(), "loss")
    for path in purged[1:]:
        shutil.copy(path, tmp_path)

    said = [bring_in("import_tensorboard", tmp_path) for _again in range(2)]

    assert len(before) > 3
    assert points_of(Run.objects.get(), "loss") == [
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
        (3, 13.0),
        (4, 14.0),
        (5, 15.0),
    ]
    assert "1 with new points" in said[0]
    assert "0 with new points" in said[1]


def test_hyperparameters_of_lightning_are_params(bring_in):
    bring_in("import_tensorboard", TENSORBOARD / "lightning")

    assert Run.objects.get().hyperparameters == {"lr": "0.01", "layers": "[4, 2]"}


def test_arguments_of_the_trainer_are_params(bring_in):
    bring_in("import_tensorboard", TRAINER / "tensorboard", run_name="tiny")

    run = Run.objects.get()
    assert run.name == "tiny"
    assert run.hyperparameters["learning_rate"] == "0.001"
    assert (run.total_steps, run.progress) == (8, 1.0)


# --- again and again -------------------------------------------------------------------------


def test_import_started_again_changes_nothing(bring_in):
    bring_in("import_tensorboard", TENSORBOARD)
    before = list(Run.objects.order_by("id").values("id", "updated_at", "step"))

    said = bring_in("import_tensorboard", TENSORBOARD)

    assert "7 unchanged. New points: 0." in said
    assert list(Run.objects.order_by("id").values("id", "updated_at", "step")) == before


def test_moved_folder_is_the_same_run(bring_in, tmp_path):
    bring_in("import_tensorboard", TENSORBOARD / "tensors")
    shutil.copytree(TENSORBOARD / "tensors", tmp_path / "elsewhere")

    bring_in("import_tensorboard", tmp_path / "elsewhere")

    assert Run.objects.count() == 1


def test_file_that_has_grown_adds_what_is_missing(bring_in, tmp_path, points_of):
    source = event_file(TENSORBOARD / "tensors")
    whole = source.read_bytes()
    path = tmp_path / source.name
    path.write_bytes(whole[: len(whole) * 2 // 3])
    bring_in("import_tensorboard", tmp_path)
    run = Run.objects.get()
    before = len(points_of(run, "epoch_loss"))
    path.write_bytes(whole)

    said = bring_in("import_tensorboard", tmp_path)

    assert 0 < before < 4
    assert len(points_of(run, "epoch_loss")) == 4
    assert f"1 with new points, 0 unchanged. New points: {4 - before}." in said


def test_import_that_is_interrupted_leaves_no_part_of_a_run(bring_in, monkeypatch, points_of):
    monkeypatch.setattr(past_runs, "POINTS_PER_BATCH", 2)
    record, batches = past_runs.record_points, []

    def interrupt(run_id, points):
        if batches:
            raise KeyboardInterrupt
        batches.append(points)
        record(run_id, points)

    with monkeypatch.context() as patched:
        patched.setattr(past_runs, "record_points", interrupt)
        with pytest.raises(CommandError) as error:
            bring_in("import_tensorboard", TENSORBOARD / "tensors")
    assert error.value.returncode == 130
    assert not Run.objects.exists()

    bring_in("import_tensorboard", TENSORBOARD / "tensors")

    assert len(points_of(Run.objects.get(), "epoch_loss")) == 4


def test_run_in_the_trash_stays_there(bring_in):
    bring_in("import_tensorboard", TENSORBOARD / "tensors")
    Run.objects.get().move_to_trash(by=None)

    with pytest.raises(CommandError):
        bring_in("import_tensorboard", TENSORBOARD / "tensors")

    assert Run.objects.get().deleted_at is not None


def test_what_users_have_edited_is_kept(bring_in, tmp_path):
    source = event_file(TENSORBOARD / "tensors")
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[:-1])
    bring_in("import_tensorboard", tmp_path)
    Run.objects.update(name="mine")
    path.write_bytes(source.read_bytes())

    bring_in("import_tensorboard", tmp_path)

    assert Run.objects.get().name == "mine"


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_imports_at_once_create_each_run_once(project, monkeypatch, points_of):
    (folder,) = log_folders(TENSORBOARD / "tensors")
    (past,) = folder.read(lambda _share: None)

    def bring_in():
        return past_runs.bring_in(project, past).result

    results = in_parallel(bring_in, bring_in)

    assert set(results) == {Result.CREATED, Result.UNCHANGED}
    assert len(points_of(Run.objects.get(), "epoch_loss")) == 4


def test_progress_ends_at_all_of_the_work(bring_in, monkeypatch):
    bars = []

    def bar(**kwargs):
        bars.append(tqdm(**{**kwargs, "disable": False, "file": io.StringIO()}))
        return bars[0]

    bar.external_write_mode = tqdm.external_write_mode
    monkeypatch.setattr(command, "tqdm", bar)

    bring_in("import_tensorboard", TENSORBOARD)

    assert bars[0].n == pytest.approx(1.0)


def test_event_without_a_valid_time_has_that_of_its_file(bring_in, tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, scalar(1, -1.0))
    os.utime(path, (1_700_000_000, 1_700_000_000))

    bring_in("import_tensorboard", tmp_path)

    assert Run.objects.get().finished_at.timestamp() == 1_700_000_000


@pytest.mark.parametrize("wall_time", [-1.0, 1e300])
def test_import_started_again_adds_nothing_though_an_event_has_no_time(
    wall_time, bring_in, tmp_path
):
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, scalar(1), scalar(2, wall_time))
    bring_in("import_tensorboard", tmp_path)
    os.utime(path, (1_700_000_000, 1_700_000_000))

    said = bring_in("import_tensorboard", tmp_path)

    assert "1 unchanged. New points: 0." in said


# --- bad input -------------------------------------------------------------------------------


def test_unreadable_folder_is_named_and_the_others_are_imported(bring_in, tmp_path, capsys):
    shutil.copytree(TENSORBOARD / "tensors", tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "events.out.tfevents.1").write_bytes(b"\xff" * 100)

    with pytest.raises(CommandError) as error:
        bring_in("import_tensorboard", tmp_path)

    assert error.value.returncode == 1
    assert "bad" in capsys.readouterr().err
    assert Run.objects.get().name == "good"


def test_name_that_is_not_utf8_has_a_readable_stand_in(bring_in, tmp_path):
    folder = os.fsencode(tmp_path) + "/run-模型".encode("gbk")
    write_events(Path(os.fsdecode(folder)) / "events.out.tfevents.1", scalar(1))

    bring_in("import_tensorboard", tmp_path)

    run = Run.objects.get()
    assert run.name == "run-模型"
    assert "run-模型" in str(run.events.get().reason)


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("[" * 5000, {}),
        (json.dumps({"max_steps": 10**23}), {"max_steps": str(10**23)}),
        (json.dumps({"name": "a\ud800\x00b"}), {"name": "a\ufffd\ufffdb"}),
        (json.dumps({"seeds": [2**80, "\ud800"]}), {"seeds": f'[{2**80}, "\ufffd"]'}),
        (json.dumps({"a\x00": 1, "": 2, "lr": 3}), {"lr": "3"}),
    ],
    ids=["nested", "max_steps", "text", "list", "names"],
)
def test_curve_is_imported_whatever_the_hyperparameters_are(
    text, params, bring_in, tmp_path, points_of
):
    write_events(tmp_path / "events.out.tfevents.1", arguments(text), scalar(1))

    bring_in("import_tensorboard", tmp_path)

    run = Run.objects.get()
    assert points_of(run, "x") == [(1, 1.0)]
    assert (run.hyperparameters, run.total_steps) == (params, None)


def test_hyperparameters_that_are_too_many_are_left_out_and_counted(bring_in, tmp_path):
    many = {f"name_{number}": number for number in range(MAX_NAMES + 100)}
    write_events(tmp_path / "events.out.tfevents.1", arguments(json.dumps(many)), scalar(1))

    said = bring_in("import_tensorboard", tmp_path)

    assert len(Run.objects.get().hyperparameters) == MAX_NAMES
    assert "100 hyperparameters and tags" in said


def test_hyperparameters_that_are_too_large_are_left_out_and_counted(bring_in, tmp_path):
    many = {f"name_{number}": "x" * 6000 for number in range(400)}
    write_events(tmp_path / "events.out.tfevents.1", arguments(json.dumps(many)), scalar(1))

    said = bring_in("import_tensorboard", tmp_path)

    kept = len(Run.objects.get().hyperparameters)
    assert len(json.dumps(Run.objects.get().hyperparameters)) < MAX_BYTES
    assert f"{400 - kept} hyperparameters and tags" in said


def test_folder_that_cannot_be_looked_into_is_named(bring_in, tmp_path, monkeypatch, capsys):
    shutil.copytree(TENSORBOARD / "tensors", tmp_path / "good")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(CommandError):
        bring_in("import_tensorboard", tmp_path, run_name="mine")

    assert "locked cannot be read: Permission denied." in capsys.readouterr().err
    assert Run.objects.get().name == "mine"


def test_whatever_is_wrong_with_a_folder_does_not_stop_the_others(
    bring_in, tmp_path, monkeypatch, capsys
):
    for name in ("a", "b"):
        write_events(tmp_path / name / "events.out.tfevents.1", scalar(1))
        write_events(tmp_path / name / f"events.out.tfevents.{name}", scalar(2))
    read = LogFolder.read

    def fail(folder, progress):
        if folder.name == "a":
            raise RuntimeError("of a kind that nobody\nhas thought of")
        return read(folder, progress)

    monkeypatch.setattr(LogFolder, "read", fail)

    with pytest.raises(CommandError):
        bring_in("import_tensorboard", tmp_path)

    said = capsys.readouterr().err
    assert said.splitlines() == ["a: RuntimeError: of a kind that nobody"]
    assert Run.objects.get().name == "b"


def test_empty_event_file_is_no_run(bring_in, tmp_path):
    (tmp_path / "events.out.tfevents.1").touch()

    said = bring_in("import_tensorboard", tmp_path)

    assert "has no metrics" in said
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("no/such/folder", {}, "no/such/folder"),
        (".", {}, "nothing to import"),
        (TENSORBOARD, {"project": "unknown"}, "unknown"),
        (TENSORBOARD, {"run_name": "x"}, "--run-name"),
    ],
)
def test_mistake_is_said_in_one_line(path, options, said, bring_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CommandError, match=said) as error:
        bring_in("import_tensorboard", path, **options)

    assert "\n" not in str(error.value)
    assert not Run.objects.exists()


def test_project_may_be_named(bring_in, project):
    bring_in("import_tensorboard", TENSORBOARD / "tensors", project=project.name)

    assert Run.objects.get().project == project


def test_archived_project_takes_no_runs(bring_in, project):
    project.set_status(ProjectStatus.ARCHIVED)

    with pytest.raises(CommandError):
        bring_in("import_tensorboard", TENSORBOARD / "tensors")

    assert not Run.objects.exists()
