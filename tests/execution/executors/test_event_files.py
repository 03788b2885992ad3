"""TensorBoard event files that a script writes become its run's metrics."""

import shutil
from pathlib import Path

import pytest
from django.db import transaction
from tensorboardX.proto import types_pb2 as types
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.record_writer import RecordWriter

import metrics.event_files
from execution.executors import event_files
from execution.executors.process import ProcessExecutor
from metrics.models import MetricPoint, MetricSeries
from metrics.points import Point, Points
from metrics.recording import record_metrics, record_points, rewind
from runs.executors import WorkState
from runs.models import Run
from tests.execution.executors.contract import fresh, poll, poll_until
from tests.factories import RecipeFactory, checkpoint, running
from tests.recorded import TENSORBOARD, TRAINER, event_file
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

TENSORS = event_file(TENSORBOARD / "tensors")  # epoch_loss at the steps 0 to 3


@pytest.fixture(autouse=True)
def always_look(monkeypatch):
    monkeypatch.setattr(event_files, "LOOK_SHARE", float("inf"))


def points_of(run, key="epoch_loss"):
    stored = MetricPoint.objects.filter(series__run=run, series__key=key)
    return list(stored.order_by("step", "timestamp_ms").values_list("step", "value"))


def keys_of(run):
    return set(MetricSeries.objects.filter(run=run).values_list("key", flat=True))


@pytest.fixture
def run():
    return running(recipe=RecipeFactory(), total_steps=None)


class Tail:
    """Ingests the event files of one attempt, as each poll does."""

    def __init__(self, run: Run, directory: Path) -> None:
        self.run, self.directory, self.notes = run, directory, {}

    def poll(self, *, ended: bool = False) -> list[str]:
        with transaction.atomic():
            locked = Run.objects.lock(self.run.pk)
            lines, self.at_end = event_files.ingest(locked, self.directory, self.notes, ended=ended)
        return [line.message for line in lines]


@pytest.fixture
def tail(run, tmp_path):
    return Tail(run, tmp_path)


def put(source: Path, target: Path, size: int | None = None) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes()[:size])
    return target


def write(folder: Path, name: str, values: dict[int, float], *, tag="loss", start=None) -> None:
    """Write an event file of one metric, by step; ``start``: its writer starts again there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{name}"
    path.unlink(missing_ok=True)
    writer = RecordWriter(str(path))
    if start is not None:
        log = SessionLog(status=SessionLog.START)
        writer.write(Event(wall_time=1.0, step=start, session_log=log).SerializeToString())
    for step, value in values.items():
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        event = Event(wall_time=int(name) + step / 8, step=step, summary=summary)
        writer.write(event.SerializeToString())
    writer.close()


# --- a growing file --------------------------------------------------------------------------


def test_file_that_grows_by_one_byte_at_a_time_is_read_once(run, tail, tmp_path):
    path, whole = tmp_path / "runs" / "a" / TENSORS.name, TENSORS.read_bytes()
    put(TENSORS, path, 0)
    with path.open("ab") as file:
        for byte in whole:
            file.write(bytes([byte]))
            file.flush()
            assert tail.poll() == []

    assert [step for step, _value in points_of(run)] == [0, 1, 2, 3]
    assert fresh(run).step == 3
    assert tail.poll(ended=True) == []
    assert len(points_of(run)) == 4


def test_reading_that_was_not_committed_is_repeated(run, tail, tmp_path):
    put(TENSORS, tmp_path / TENSORS.name)
    with transaction.atomic():
        tail.poll()
        transaction.set_rollback(True)
    tail.notes = {}

    tail.poll()

    assert len(points_of(run)) == 4


def test_two_writers_in_one_folder_are_both_read(run, tail, tmp_path):
    for source in (TRAINER / "tensorboard").iterdir():
        put(source, tmp_path / "tensorboard" / source.name)

    tail.poll()

    assert [step for step, _value in points_of(run, "eval/loss")] == [4, 8, 8]


def test_file_that_is_found_late_is_read_from_its_start(run, tail, tmp_path):
    tail.poll()
    put(TENSORS, tmp_path / "late" / TENSORS.name)

    tail.poll(ended=True)

    assert len(points_of(run)) == 4


def test_file_that_vanishes_is_no_error(run, tail, tmp_path):
    path = put(TENSORS, tmp_path / TENSORS.name)
    tail.poll()
    path.unlink()

    assert tail.poll(ended=True) == []
    assert len(points_of(run)) == 4


# --- damage ----------------------------------------------------------------------------------


def test_damaged_file_is_said_once_and_the_others_are_read_on(run, tail, tmp_path):
    put(TENSORS, tmp_path / TENSORS.name)
    broken = tmp_path / "events.out.tfevents.0"
    broken.write_bytes(b"\xff" * 100)

    said = tail.poll()
    broken.write_bytes(b"\xff" * 200)

    assert len(said) == 1
    assert broken.name in said[0]
    assert tail.poll() == []
    assert len(points_of(run)) == 4


def test_tag_that_is_too_long_is_left_out_and_said_once(run, tail, tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "is_key", lambda key: key != "train/loss")
    for source in (TRAINER / "tensorboard").iterdir():
        put(source, tmp_path / source.name)

    said = tail.poll()

    assert len(said) == 1
    assert "train/loss" in said[0]
    assert "train/loss" not in keys_of(run)
    assert "eval/loss" in keys_of(run)


def test_arguments_that_cannot_be_decoded_do_not_stop_the_reading(run, tail, tmp_path):
    path = put(TENSORS, tmp_path / TENSORS.name)
    tensor = TensorProto(dtype=types.DT_STRING, string_val=[b"[" * 2000])
    value = Summary.Value(tag="args/text_summary", tensor=tensor)
    event = Event(wall_time=1.0, step=1, summary=Summary(value=[value]))
    writer = RecordWriter(str(tmp_path / "written"))
    writer.write(event.SerializeToString())
    writer.close()
    path.write_bytes((tmp_path / "written").read_bytes() + path.read_bytes())

    assert tail.poll() == []
    assert len(points_of(run)) == 4


# --- several folders -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "others", "prefix"),
    [
        ("runs/now/f", [], ""),
        ("runs/now/loss_a/f", ["runs/now/f"], "loss_a/"),
        ("logs/validation/f", ["logs/train/f"], "validation/"),
        ("runs/now/1700000000.5/f", ["runs/now/f"], ""),
        ("lightning_logs/version_1/f", ["lightning_logs/version_0/f"], ""),
        ("f", ["a/f"], ""),
    ],
)
def test_folders_of_one_training_are_told_apart(path, others, prefix):
    assert event_files.key_prefix(path, others) == prefix


def test_folders_of_add_scalars_are_told_apart(run, tail, tmp_path):
    shutil.copytree(TENSORBOARD / "torch_writer", tmp_path / "runs" / "now")

    tail.poll()

    assert {"loss", "compared_a/compared", "compared_b/compared"} <= keys_of(run)


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("runs/actor", "runs/critic", "critic/loss"),
        ("a/x", "b/x", "b/x/loss"),
        ("lightning_logs/version_0", "lightning_logs/version_1", "version_1/loss"),
    ],
)
def test_same_tag_in_two_folders_is_two_metrics_and_said_once(
    run, tail, tmp_path, first, second, key
):
    write(tmp_path / first, "1", {1: 1.0})
    write(tmp_path / second, "1", {1: 2.0})
    said = tail.poll()
    write(tmp_path / second, "2", {2: 2.0})

    assert tail.poll(ended=True) == []

    assert len(said) == 1
    assert key in said[0]
    assert points_of(run, "loss") == [(1, 1.0)]
    assert points_of(run, key) == [(1, 2.0), (2, 2.0)]


def test_tag_that_a_folder_further_up_has_later_is_a_metric_of_its_own(run, tail, tmp_path):
    write(tmp_path / "runs" / "a", "1", {1: 1.0})
    tail.poll()
    write(tmp_path, "1", {1: 2.0})

    tail.poll()

    assert keys_of(run) == {"loss", "main/loss"}


def test_folder_that_a_writer_names_by_a_time_has_its_metrics(run, tail, tmp_path):
    write(tmp_path / "runs" / "now", "1", {1: 1.0})
    write(tmp_path / "runs" / "now" / "1700000000.5", "1", {2: 2.0})

    assert tail.poll() == []

    assert points_of(run, "loss") == [(1, 1.0), (2, 2.0)]


def test_links_are_not_followed(run, tail, tmp_path):
    (tmp_path / "link").symlink_to(TENSORS.parent)
    (tmp_path / TENSORS.name).symlink_to(TENSORS)

    tail.poll(ended=True)

    assert keys_of(run) == set()


def test_checkpoint_that_the_attempt_starts_from_is_not_looked_into(run, tail, tmp_path):
    put(TENSORS, tmp_path / "resume" / TENSORS.name)

    tail.poll(ended=True)

    assert keys_of(run) == set()


# --- metrics that are reported twice ---------------------------------------------------------


def test_metric_that_somebody_else_reports_is_not_read_from_event_files(run, tail, tmp_path):
    record_points(run.pk, Points.of([Point("epoch_loss", 0, 7.0, 1)]))
    put(TENSORS, tmp_path / TENSORS.name)

    tail.poll()

    assert points_of(run) == [(0, 7.0)]


def test_steps_that_an_event_file_has_reported_are_not_taken_from_metrics_jsonl(
    run, tail, tmp_path
):
    path = tmp_path / TENSORS.name
    put(TENSORS, path, len(TENSORS.read_bytes()) - 1)  # without the last step
    tail.poll()
    points = [Point("epoch_loss", step, 9.0, 1) for step in range(5)] + [Point("x", 0, 1.0, 1)]

    with transaction.atomic():
        kept = event_files.without_taken(Run.objects.lock(run.pk), points, tail.notes)

    assert [(point.key, point.step) for point in kept] == [
        ("epoch_loss", 3),
        ("epoch_loss", 4),
        ("x", 0),
    ]


def test_metric_that_metrics_jsonl_reports_later_is_read_from_it_from_then_on(run, tail, tmp_path):
    path = tmp_path / TENSORS.name
    put(TENSORS, path, len(TENSORS.read_bytes()) - 1)
    tail.poll()
    with transaction.atomic():
        event_files.without_taken(
            Run.objects.lock(run.pk), [Point("epoch_loss", 3, 9.0, 1)], tail.notes
        )
    put(TENSORS, path)

    tail.poll()

    assert [step for step, _value in points_of(run)] == [0, 1, 2]


def test_further_values_of_metrics_jsonl_at_a_step_are_taken(run, tail, tmp_path):
    write(tmp_path, "1", {1: 1.0, 3: 1.0})
    tail.poll()

    for step, value in ((3, 0.95), (10, 0.9), (10, 0.8)):
        with transaction.atomic():
            locked = Run.objects.lock(run.pk)
            points = [Point("loss", step, value, int(1000 - 100 * value))]
            record_metrics(locked, event_files.without_taken(locked, points, tail.notes))

    assert points_of(run, "loss") == [(1, 1.0), (3, 1.0), (10, 0.9), (10, 0.8)]


def test_metric_that_a_client_reports_later_is_left_to_it(run, tail, tmp_path):
    write(tmp_path, "1", {0: 0.1, 1: 0.1, 2: 0.1})
    tail.poll()
    client = [Point("loss", step, 0.1, 5_000 + step) for step in range(2, 6)]
    record_points(run.pk, Points.of(client))
    write(tmp_path, "1", dict.fromkeys(range(6), 0.1))

    tail.poll()
    tail.poll(ended=True)

    single = pytest.approx(0.1, abs=1e-7)
    assert points_of(run, "loss")[:2] == [(0, single), (1, single)]
    assert points_of(run, "loss")[2:] == [(step, 0.1) for step in range(2, 6)]


def test_steps_that_a_client_reported_after_the_last_event_are_there_once(run, tail, tmp_path):
    write(tmp_path, "1", {0: 0.1, 1: 0.5})
    tail.poll()
    record_points(run.pk, Points.of([Point("loss", 0, 0.1, 9), Point("loss", 1, 0.5, 9)]))

    tail.poll(ended=True)

    assert points_of(run, "loss") == [(0, 0.1), (1, 0.5)]


def test_metric_that_a_client_reported_before_a_restart_can_be_read_from_event_files(
    run, tail, tmp_path
):
    record_points(run.pk, Points.of([Point("loss", step, 1.0, 1) for step in range(5)]))
    with transaction.atomic():
        rewind(Run.objects.lock(run.pk), 3)
    write(tmp_path, "1", {3: 2.0, 4: 2.0, 5: 2.0})

    tail.poll()

    assert points_of(run, "loss") == [*((step, 1.0) for step in range(4)), (4, 2.0), (5, 2.0)]


# --- writers that start again ----------------------------------------------------------------


def test_writer_that_starts_again_leaves_other_folders_alone(run, tail, tmp_path):
    write(tmp_path / "a", "1", dict.fromkeys(range(10), 1.0))
    write(tmp_path / "b", "2", dict.fromkeys(range(10), 1.0), tag="acc", start=0)

    tail.poll(ended=True)

    assert len(points_of(run, "loss")) == len(points_of(run, "acc")) == 10


@pytest.mark.parametrize("polls", ["between", "at once"])
def test_writer_that_starts_again_replaces_what_its_folder_had(run, tail, tmp_path, polls):
    write(tmp_path / "a", "1", dict.fromkeys(range(10), 1.0))
    write(tmp_path / "b", "1", dict.fromkeys(range(10), 1.0), tag="acc")
    if polls == "between":
        tail.poll()
    write(tmp_path / "a", "2", dict.fromkeys(range(5, 8), 2.0), start=5)

    tail.poll(ended=True)

    values = [1.0] * 5 + [2.0] * 3
    assert points_of(run, "loss") == list(enumerate(values))
    assert len(points_of(run, "acc")) == 10
    assert fresh(run).metrics == {"loss": 2.0, "acc": 1.0}


def test_long_file_is_read_to_its_end_before_the_one_that_replaces_it(
    run, tail, tmp_path, monkeypatch
):
    monkeypatch.setattr(metrics.event_files, "CHUNK_BYTES", 200)
    write(tmp_path, "1", dict.fromkeys(range(20), 1.0))
    write(tmp_path, "2", dict.fromkeys(range(5, 8), 2.0), start=5)

    for _poll in range(20):
        tail.poll()

    assert points_of(run, "loss") == list(enumerate([1.0] * 5 + [2.0] * 3))


def test_writer_that_starts_again_does_not_replace_an_earlier_attempt(run, tail, tmp_path):
    record_points(run.pk, Points.of([Point("loss", step, 1.0, 1) for step in range(5)]))
    with transaction.atomic():
        rewind(Run.objects.lock(run.pk), 3)
    write(tmp_path, "1", {4: 2.0, 5: 2.0})
    tail.poll()
    write(tmp_path, "2", dict.fromkeys(range(2, 6), 3.0), start=2)

    tail.poll()

    assert points_of(run, "loss") == [*((step, 1.0) for step in range(4)), (4, 3.0), (5, 3.0)]


# --- with a process --------------------------------------------------------------------------


def started(executor, script, **fields):
    run = running(recipe=RecipeFactory(script=script, **fields), total_steps=None)
    executor.start(run, run.worker)
    return run


COPY = f"import os, shutil; shutil.copytree({str(TENSORS.parent)!r}, %s)"
TO_VARIABLE = COPY % 'os.environ["TENSORBOARD_LOGGING_DIR"]'


@pytest.mark.parametrize("target", ['os.environ["TENSORBOARD_LOGGING_DIR"]', '"runs/now"'])
def test_event_files_of_a_script_become_metrics(target):
    executor = ProcessExecutor()
    run = started(executor, COPY % target)

    poll_until(executor, run, WorkState.FINISHED)

    assert [step for step, _value in points_of(run)] == [0, 1, 2, 3]
    assert fresh(run).metrics == {"epoch_loss": 0.25}


def test_recipe_can_leave_event_files_alone():
    executor = ProcessExecutor()
    script = 'import os; assert "TENSORBOARD_LOGGING_DIR" not in os.environ; ' + COPY % '"runs/now"'
    run = started(executor, script, read_tensorboard=False)

    poll_until(executor, run, WorkState.FINISHED)

    assert keys_of(run) == set()


def test_next_attempt_reports_the_steps_after_its_checkpoint_again_once():
    executor = ProcessExecutor()
    run = started(executor, f"{TO_VARIABLE}; import signal; signal.pause()")
    wait_until(lambda: poll(executor, run) and len(points_of(run)) == 4)
    checkpoint(run, step=1)
    executor.kill(run, run.worker)
    poll_until(executor, run, WorkState.DIED)
    Run.objects.filter(pk=run.pk).update(attempt=2)
    run = Run.objects.get(pk=run.pk)

    executor.start(run, run.worker)
    wait_until(lambda: poll(executor, run) and len(points_of(run)) == 4)

    assert [step for step, _value in points_of(run)] == [0, 1, 2, 3]
    executor.kill(run, run.worker)
    poll_until(executor, run, WorkState.DIED)


def test_values_in_both_files_are_stored_once():
    executor = ProcessExecutor()
    script = (
        f"{TO_VARIABLE}; import json; file = open(os.environ['TRAINHUB_METRICS_FILE'], 'a')\n"
        "for step in range(4): print(json.dumps({'step': step, 'epoch_loss': 5}), file=file)"
    )
    run = started(executor, script)

    poll_until(executor, run, WorkState.FINISHED)

    assert [step for step, _value in points_of(run)] == [0, 1, 2, 3]


# --- cost ------------------------------------------------------------------------------------


def test_looking_for_files_is_bounded(tmp_path, monkeypatch):
    for number in range(20):
        put(TENSORS, tmp_path / f"{number}" / TENSORS.name)
    monkeypatch.setattr(event_files, "MAX_ENTRIES", 30)

    found, is_all = event_files.find(tmp_path)

    assert 0 < len(found) < 20
    assert not is_all


def test_large_folder_does_not_hide_the_event_files_of_others(tmp_path, monkeypatch):
    for folder in ("a", "z"):
        (tmp_path / folder).mkdir()
        for number in range(60):
            (tmp_path / folder / f"{number}.jpg").touch()
    put(TENSORS, tmp_path / "runs" / "now" / TENSORS.name)
    monkeypatch.setattr(event_files, "MAX_ENTRIES", 50)
    monkeypatch.setattr(event_files, "ENTRIES_AT_ONCE", 10)

    assert event_files.find(tmp_path) == ([f"runs/now/{TENSORS.name}"], False)


def test_folder_that_is_searched_in_parts_is_searched_once(tmp_path, monkeypatch):
    for number in range(20):
        put(TENSORS, tmp_path / "runs" / f"{number}.{TENSORS.name}")
    monkeypatch.setattr(event_files, "ENTRIES_AT_ONCE", 5)

    found, is_all = event_files.find(tmp_path)

    assert (len(found), len(set(found)), is_all) == (20, 20, True)


@pytest.mark.parametrize(("limit", "word"), [("MAX_ENTRIES", "$TENSOR"), ("MAX_FILES", "TensorB")])
def test_what_is_not_searched_or_read_is_said_once(tail, tmp_path, monkeypatch, limit, word):
    for number in range(5):
        put(TENSORS, tmp_path / f"{number}.{TENSORS.name}")
    monkeypatch.setattr(event_files, limit, 3)
    monkeypatch.setattr(event_files, "ENTRIES_AT_ONCE", 2)

    said = tail.poll() + tail.poll() + tail.poll(ended=True)

    assert len(said) == 1
    assert "3" in said[0]
    assert word in said[0]


def test_worker_looks_for_further_files_only_after_a_while(run, tail, tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "LOOK_SHARE", 1e-9)
    tail.poll()
    put(TENSORS, tmp_path / TENSORS.name)

    tail.poll()
    before = keys_of(run)
    tail.poll(ended=True)

    assert before == set()
    assert len(points_of(run)) == 4


def test_metrics_that_an_earlier_version_read_are_read_on(run, tail, tmp_path):
    write(tmp_path / "tb", "1", {0: 1.0, 1: 2.0})
    tail.poll()
    del tail.notes["event_series"]
    run.refresh_from_db()
    run.change(executor_state={**run.executor_state, "event_keys": {"loss": True}})

    write(tmp_path / "tb", "2", {2: 3.0, 3: 4.0})
    tail.poll(ended=True)

    assert len(points_of(run, "loss")) == 4
