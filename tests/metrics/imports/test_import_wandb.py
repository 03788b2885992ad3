"""manage.py import_wandb: exported histories, and an offline run that the wandb package wrote."""

import json
import math
import os
import shutil
import struct
import zlib

import pytest
from django.core.management import CommandError
from google.protobuf.json_format import ParseDict

from metrics.imports import wandb_offline
from runs.models import Run
from runs.status import RunStatus
from tests.recorded import WANDB

pytestmark = pytest.mark.django_db

(OFFLINE,) = WANDB.glob("offline-run-*/*.wandb")

# As a chart of the pages exports it.
CHART = """"Step","fast - train/loss","fast - train/loss__MIN","a - b - acc"
"0","2.5","2.5",""
"1","NaN","1","0.5"
"""


# --- histories -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "history.csv",
        "history-with-index.csv",
        "history-records.json",
        "history-columns.json",
        "history.jsonl",
        "history.parquet",
    ],
)
def test_history_is_read_in_every_format(name, bring_in, points_of):
    said = bring_in("import_wandb", WANDB / name)

    run = Run.objects.get()
    losses = [(step, pytest.approx(2 / (step + 1))) for step in range(4)]
    assert points_of(run, "train/loss") == losses
    assert points_of(run, "eval.bleu") == [(1, 0.1), (3, 0.3)]
    assert points_of(run, "done") == [(0, 0), (1, 0), (2, 0), (3, 1)]
    assert set(run.metrics) == {"train/loss", "eval.bleu", "done"}
    assert run.started_at.timestamp() == 1_700_000_000.25
    assert run.finished_at.timestamp() == 1_700_000_004.75
    assert "4 values" in said  # the texts


def test_chart_has_a_run_for_each_of_its_curves(bring_in, tmp_path, points_of, run_named):
    (tmp_path / "chart.csv").write_text(CHART)

    bring_in("import_wandb", tmp_path / "chart.csv")

    assert Run.objects.count() == 2
    (first, second) = points_of(run_named("fast"), "train/loss")
    assert first == (0, 2.5)
    assert math.isnan(second[1])
    assert points_of(run_named("a - b"), "acc") == [(1, 0.5)]


@pytest.mark.parametrize("name", ["history.csv", "chart.csv"])
def test_import_started_again_changes_nothing(name, bring_in, tmp_path):
    path = tmp_path / name
    path.write_text(CHART if name == "chart.csv" else (WANDB / name).read_text())
    bring_in("import_wandb", path)
    count = Run.objects.count()
    path.touch()

    said = bring_in("import_wandb", path)

    assert f"{count} unchanged. New points: 0." in said
    assert Run.objects.count() == count


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "loss\n1\n", "_step"),
        ("a.csv", "_step,loss\nx,1\n", "'x'"),
        ("a.csv", "_step,loss\n1,2,3\n", "more columns"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read"),
        ("a.csv", '"Relative Time (Process)","a - loss"\n1,2\n', "x-axis"),
        ("a.json", "{", "cannot be read"),
        ("a.json", "7", "no list of rows"),
        ("a.jsonl", '{"_step": 1}\n[]\n', "no object"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.xlsx", "", "not a CSV"),
        ("a.wandb", b"nothing", "offline run"),
    ],
)
def test_bad_file_is_named_with_the_reason(name, content, said, bring_in, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(CommandError) as error:
        bring_in("import_wandb", path)

    assert error.value.returncode == 1
    message = str(error.value)
    assert said in message
    assert "\n" not in message
    assert str(path) in message
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "image",
    [
        {"a": {"_type": "image-file", "size": 3, "width": 28}},
        {"a._type": "image-file", "a.size": 3, "a.width": 28},
    ],
)
def test_image_is_one_value_that_is_left_out(image, bring_in, tmp_path):
    path = tmp_path / "history.json"
    path.write_text(json.dumps([{"_step": 1, "loss": 2.0, "abc": 3, **image}]))

    said = bring_in("import_wandb", path)

    assert Run.objects.get().metrics == {"loss": 2.0, "abc": 3.0}
    assert "1 values" in said


def test_import_started_again_adds_nothing_though_a_row_has_no_time(bring_in, tmp_path):
    path = tmp_path / "history.json"
    rows = [{"_step": 1, "_timestamp": 1_700_000_000, "loss": 2.0}, {"_step": 2, "loss": 1.0}]
    path.write_text(json.dumps(rows))
    bring_in("import_wandb", path)
    os.utime(path, (1_700_000_000, 1_700_000_000))

    said = bring_in("import_wandb", path)

    assert "1 unchanged. New points: 0." in said


# --- offline runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [WANDB, OFFLINE.parent, OFFLINE])
def test_offline_run_is_read_from_its_folder(path, bring_in, points_of):
    bring_in("import_wandb", path)

    run = Run.objects.get()
    (first, *rest) = points_of(run, "train/loss")
    assert math.isnan(first[1])
    assert rest == [(step, pytest.approx(2 / (step + 1))) for step in range(1, 6)]
    assert points_of(run, "eval.bleu")[-1] == (5, 0.5)
    assert points_of(run, "acc") == [(9, 1.0)]
    assert (run.name, run.status, run.exit_code) == ("tiny-run", RunStatus.COMPLETED, 0)
    assert run.finished_at > run.started_at


def test_configuration_and_tags_of_an_offline_run_are_kept(bring_in):
    bring_in("import_wandb", OFFLINE)

    run = Run.objects.get()
    assert run.hyperparameters == {
        "learning_rate": "3e-05",
        "optimizer.name": "adamw",
        "optimizer.betas": "[0.9,0.95]",
    }
    assert run.tags == {
        "wandb.run_id": "abc123de",
        "wandb.project": "summaries",
        "wandb.notes": "a first try",
        "wandb.tags": "baseline",
    }


def test_offline_run_that_was_cut_off_is_finished_by_the_whole_file(bring_in, tmp_path, points_of):
    path, whole = tmp_path / OFFLINE.name, OFFLINE.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    bring_in("import_wandb", path)
    before = Run.objects.get()
    path.write_bytes(whole)

    bring_in("import_wandb", path)

    after = Run.objects.get()
    assert (before.status, before.exit_code) == (RunStatus.FAILED, None)
    assert (after.status, after.step) == (RunStatus.COMPLETED, 9)
    assert points_of(after, "acc") == [(9, 1.0)]


def test_offline_run_cut_off_at_any_record_is_read_up_to_there(bring_in, tmp_path):
    whole = OFFLINE.read_bytes()
    path = tmp_path / OFFLINE.name
    for size in range(1000, 2000, 37):
        path.write_bytes(whole[:size])
        bring_in("import_wandb", path)

    assert Run.objects.count() == 1


def test_link_that_leads_nowhere_does_not_stop_the_others(bring_in, tmp_path, capsys):
    shutil.copy(OFFLINE, tmp_path)
    (tmp_path / "latest.wandb").symlink_to(tmp_path / "no such file")

    with pytest.raises(CommandError):
        bring_in("import_wandb", *sorted(tmp_path.iterdir()))

    assert "latest" in capsys.readouterr().err
    assert Run.objects.get().name == "tiny-run"


def test_row_before_its_run_has_the_time_of_the_start(bring_in, tmp_path, points_of):
    start = {"seconds": 1_700_000_000}
    write_records(
        tmp_path / "run.wandb",
        history(1, loss=2.0),
        {"run": {"run_id": "early", "start_time": start}},
    )

    bring_in("import_wandb", tmp_path)

    run = Run.objects.get()
    assert points_of(run, "loss") == [(1, 2.0)]
    assert run.started_at.timestamp() == run.finished_at.timestamp() == 1_700_000_000


def test_offline_run_without_any_time_has_that_of_its_file(bring_in, tmp_path):
    path = tmp_path / "run.wandb"
    write_records(path, history(1, loss=2.0), {"run": {"run_id": "timeless"}})
    bring_in("import_wandb", path)
    before = Run.objects.get()
    os.utime(path, (1_700_000_000, 1_700_000_000))

    said = bring_in("import_wandb", path)

    assert before.started_at.timestamp() > 1_700_000_000
    assert "1 unchanged. New points: 0." in said


def test_curve_is_imported_whatever_the_texts_are(bring_in, tmp_path, points_of):
    run = {"run_id": "odd", "display_name": "a\x00b", "notes": "c\x00d"}
    config = {"update": [{"key": "text", "value_json": '"\\ud800"'}]}
    write_records(tmp_path / "run.wandb", {"run": {**run, "config": config}}, history(1, loss=2.0))

    bring_in("import_wandb", tmp_path)

    run = Run.objects.get()
    assert points_of(run, "loss") == [(1, 2.0)]
    assert (run.name, run.tags["wandb.notes"]) == ("a\ufffdb", "c\ufffdd")
    assert run.hyperparameters == {"text": "\ufffd"}


def test_image_of_an_offline_run_is_left_out(bring_in, tmp_path):
    image = {"_type": "image-file", "size": 3}
    write_records(
        tmp_path / "run.wandb", {"run": {"run_id": "x"}}, history(1, loss=2.0, image=image)
    )

    said = bring_in("import_wandb", tmp_path)

    assert Run.objects.get().metrics == {"loss": 2.0}
    assert "1 values" in said


def history(step, **values):
    items = [{"key": key, "value_json": json.dumps(value)} for key, value in values.items()]
    return {"history": {"step": {"num": step}, "item": items}}


def write_records(path, *records):
    """Write an offline run whose records fit into one block."""
    content = wandb_offline.MAGIC + b"\x00"
    for record in records:
        message = ParseDict(record, wandb_offline._record_class()(), ignore_unknown_fields=False)
        data = message.SerializeToString()
        checksum = zlib.crc32(data, zlib.crc32(b"\x01"))
        content += struct.pack("<IHB", checksum, len(data), 1) + data
    path.write_bytes(content)


def test_export_is_named_after_its_file(bring_in, tmp_path):
    path = tmp_path / "my run.json"
    path.write_text(json.dumps([{"_step": 1, "loss": "Infinity"}]))

    bring_in("import_wandb", path)

    assert Run.objects.get().name == "my run"
    assert Run.objects.get().metrics == {"loss": "Infinity"}
