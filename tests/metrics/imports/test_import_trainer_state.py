"""manage.py import_trainer_state: states that Hugging Face's Trainer wrote."""

import json
import math
import os
import shutil

import pytest
from django.core.management import CommandError

from metrics.models import MetricPoint
from runs.models import Run
from runs.status import RunStatus
from tests.recorded import TRAINER

pytestmark = pytest.mark.django_db

FOLDER = TRAINER / "tiny-line"


def test_log_history_becomes_metrics(bring_in, points_of):
    bring_in("import_trainer_state", FOLDER)

    run = Run.objects.get()
    assert [step for step, _loss in points_of(run, "loss")] == [2, 4, 6, 8]
    assert points_of(run, "eval_loss")[0] == (4, pytest.approx(83.3607, rel=1e-5))
    assert points_of(run, "train_runtime") == [(8, 0.1218)]
    assert (run.name, run.status) == ("tiny-line", RunStatus.COMPLETED)
    assert (run.step, run.total_steps, run.progress) == (8, 8, 1.0)


def test_settings_and_the_best_checkpoint_are_kept(bring_in):
    bring_in("import_trainer_state", FOLDER)

    run = Run.objects.get()
    assert run.hyperparameters["train_batch_size"] == "2"
    assert run.tags["best_model_checkpoint"] == "tiny-line/checkpoint-8"
    assert float(run.tags["best_metric"]) == pytest.approx(83.24797)


def test_training_ends_when_the_file_was_written_and_began_its_runtime_before(bring_in, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "out")
    os.utime(tmp_path / "out" / "trainer_state.json", (1_700_000_000, 1_700_000_000))

    bring_in("import_trainer_state", tmp_path / "out")

    run = Run.objects.get()
    assert run.finished_at.timestamp() == 1_700_000_000
    assert (run.finished_at - run.started_at).total_seconds() == pytest.approx(0.1218, abs=1e-3)
    first = MetricPoint.objects.filter(series__key="loss").order_by("step").first()
    assert run.started_at.timestamp() < first.timestamp_ms / 1000 < run.finished_at.timestamp()


@pytest.mark.parametrize(
    "path", [FOLDER, FOLDER / "trainer_state.json", FOLDER / "checkpoint-8", TRAINER]
)
def test_folder_file_or_checkpoint_may_be_given(path, bring_in):
    bring_in("import_trainer_state", path)

    assert Run.objects.get().name == "tiny-line"


def test_import_started_again_changes_nothing_even_if_the_file_was_touched(bring_in, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "out")
    bring_in("import_trainer_state", tmp_path)
    os.utime(tmp_path / "out" / "trainer_state.json")

    said = bring_in("import_trainer_state", tmp_path)

    assert "1 unchanged. New points: 0." in said
    assert Run.objects.count() == 1


def test_training_that_was_cut_short_is_finished_by_its_later_state(bring_in, tmp_path, points_of):
    state = tmp_path / "out" / "trainer_state.json"
    shutil.copytree(FOLDER, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "checkpoint-8")
    state.unlink()
    bring_in("import_trainer_state", tmp_path)
    before = Run.objects.get()
    shutil.copy2(FOLDER / "trainer_state.json", state)

    bring_in("import_trainer_state", tmp_path)

    after = Run.objects.get()
    assert (before.status, before.progress) == (RunStatus.CANCELLED, 0.5)
    assert (after.status, after.progress) == (RunStatus.COMPLETED, 1.0)
    assert [step for step, _loss in points_of(after, "loss")] == [2, 4, 6, 8]


def test_values_that_are_no_numbers_are_left_out(bring_in, tmp_path, points_of):
    history = [
        {"step": 1, "loss": float("nan"), "note": "text", "list": [1], "none": None, "flag": True},
        {"step": "x", "loss": 1.0},
    ]
    write(tmp_path, {"global_step": 1, "log_history": history})

    said = bring_in("import_trainer_state", tmp_path)

    run = Run.objects.get()
    assert run.metrics == {"loss": "NaN", "flag": 1.0}
    assert "4 values" in said


@pytest.mark.parametrize("runtime", [1e12, math.inf, -1.0, 10**400])
def test_runtime_that_cannot_be_is_ignored(runtime, bring_in, tmp_path, points_of):
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "train_runtime": runtime}]
    write(tmp_path, {"global_step": 2, "max_steps": 10**23, "log_history": history})

    bring_in("import_trainer_state", tmp_path)

    run = Run.objects.get()
    assert points_of(run, "loss") == [(1, 2.0)]
    assert run.started_at == run.finished_at


@pytest.mark.parametrize("written_at", [-1e9, 250_000_000_000.0])
def test_file_of_any_time_is_imported(written_at, bring_in, tmp_path, points_of):
    write(tmp_path, {"global_step": 1, "log_history": [{"step": 1, "loss": 2.0}]})
    os.utime(tmp_path / "trainer_state.json", (written_at, written_at))

    bring_in("import_trainer_state", tmp_path)

    assert points_of(Run.objects.get(), "loss") == [(1, 2.0)]


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"log_history": {}, "global_step": 1}', '{"log_history": []}']
)
def test_file_that_is_no_state_is_refused(content, bring_in, tmp_path):
    (tmp_path / "trainer_state.json").write_text(content)

    with pytest.raises(CommandError, match=r"trainer_state\.json"):
        bring_in("import_trainer_state", tmp_path)

    assert not Run.objects.exists()


def write(folder, state):
    (folder / "trainer_state.json").write_text(json.dumps(state))
