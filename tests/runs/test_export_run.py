"""manage.py export_run."""

import io
import stat
import sys

import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from tqdm import tqdm

from runs import exports
from runs.ingestion import Point, record_metrics
from runs.management.commands import export_run
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return tmp_path


@pytest.fixture
def run():
    run = RunFactory.create()
    record_metrics(run, [Point("a", step, 1.0, timestamp_ms=step) for step in range(100)])
    return run


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C in the middle."""

    def export(*args, **kwargs):
        yield b"half"
        raise KeyboardInterrupt

    monkeypatch.setattr(export_run, "export", export)


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_run_is_a_parquet_file_of_its_id_by_default(run, here):
    call_command("export_run", run.pk)

    assert names(here) == [f"{run.pk}.parquet"]
    assert pq.read_table(here / f"{run.pk}.parquet").num_rows == 100


def test_project_is_all_of_its_runs(run, here):
    other = RunFactory.create(project=run.project)
    record_metrics(other, [Point("b", 1, 1.0, timestamp_ms=1)])

    call_command("export_run", run.project_id)

    assert pq.read_table(here / f"{run.project_id}.parquet").num_rows == 101


def test_format_is_what_the_name_ends_in(run, here):
    call_command("export_run", run.pk, "--output", "metrics.csv")

    assert (here / "metrics.csv").read_bytes().startswith(b"project_id,run_id,")


def test_format_that_is_given_goes_before_the_name(run, here):
    call_command("export_run", run.pk, "--output", "metrics.csv", "--format", "parquet")

    assert pq.read_table(here / "metrics.csv").num_rows == 100


def test_file_that_is_there_is_replaced(run, here):
    (here / "metrics.csv").write_text("old")

    call_command("export_run", run.pk, "--output", "metrics.csv")

    assert (here / "metrics.csv").read_bytes().count(b"\r\n") == 101


def test_file_may_be_read_by_whom_the_umask_lets(run, here):
    call_command("export_run", run.pk)

    (here / "plain").touch()
    assert mode(here / f"{run.pk}.parquet") == mode(here / "plain")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_dash_is_standard_output(run, here, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)

    call_command("export_run", run.pk, "--output", "-", "--format", "csv")

    assert stdout.buffer.getvalue().count(b"\r\n") == 101
    assert names(here) == []


def test_progress_ends_at_the_count_of_points(run, monkeypatch):
    bars = []

    def bar(**kwargs):
        bars.append(tqdm(**{**kwargs, "disable": False, "file": io.StringIO()}))
        return bars[0]

    monkeypatch.setattr(export_run, "tqdm", bar)
    monkeypatch.setattr(exports, "POINTS_A_BATCH", 30)

    call_command("export_run", run.pk)

    assert (bars[0].total, bars[0].n) == (100, 100)


@pytest.mark.parametrize("unknown", ["run_unknown", "proj_unknown", "../etc"])
def test_unknown_id_is_refused_in_one_sentence(unknown, here):
    with pytest.raises(CommandError) as refusal:
        call_command("export_run", unknown)

    assert unknown in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.returncode == 1
    assert names(here) == []


def test_unknown_format_is_refused(run):
    with pytest.raises(CommandError, match="xlsx"):
        call_command("export_run", run.pk, "--format", "xlsx")


def test_interrupt_leaves_no_file(run, here, interrupted):
    with pytest.raises(CommandError) as refusal:
        call_command("export_run", run.pk)

    assert refusal.value.returncode == 130
    assert names(here) == []


def test_interrupt_leaves_the_file_that_was_there(run, here, interrupted):
    (here / "metrics.csv").write_text("old")

    with pytest.raises(CommandError):
        call_command("export_run", run.pk, "--output", "metrics.csv")

    assert (here / "metrics.csv").read_text() == "old"
    assert names(here) == ["metrics.csv"]


@pytest.mark.parametrize("output", [".", "no/such/folder/x.csv"])
def test_place_that_cannot_be_written_is_named(run, here, output):
    with pytest.raises(CommandError, match="cannot be written") as refusal:
        call_command("export_run", run.pk, "--output", output)

    assert output in str(refusal.value)
    assert names(here) == []


def test_a_chinese_terminal_is_spoken_to_in_chinese(monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")

    with pytest.raises(CommandError, match="没有"):
        call_command("export_run", "run_none")
