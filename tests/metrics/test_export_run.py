"""manage.py export_run: files, standard output, errors."""

import io
import stat
import sys

import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from tqdm import tqdm

from metrics import exports
from metrics.management.commands import export_run
from metrics.points import Point
from metrics.recording import record_metrics
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
    """Press Ctrl-C in the middle of the export."""

    def export(*args, **kwargs):
        yield b"half"
        raise KeyboardInterrupt

    monkeypatch.setattr(export_run, "export", export)


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_run_is_written_to_a_parquet_file_named_by_its_id(run, here):
    call_command("export_run", run.pk)

    assert names(here) == [f"{run.pk}.parquet"]
    assert pq.read_table(here / f"{run.pk}.parquet").num_rows == 100


def test_project_export_has_all_of_its_runs(run, here):
    other = RunFactory.create(project=run.project)
    record_metrics(other, [Point("b", 1, 1.0, timestamp_ms=1)])

    call_command("export_run", run.project_id)

    assert pq.read_table(here / f"{run.project_id}.parquet").num_rows == 101


def test_format_follows_the_file_extension(run, here):
    call_command("export_run", run.pk, "--output", "metrics.csv")

    assert (here / "metrics.csv").read_bytes().startswith(b"project_id,run_id,")


def test_format_option_takes_precedence_over_the_extension(run, here):
    call_command("export_run", run.pk, "--output", "metrics.csv", "--format", "parquet")

    assert pq.read_table(here / "metrics.csv").num_rows == 100


def test_existing_file_is_replaced(run, here):
    (here / "metrics.csv").write_text("old")

    call_command("export_run", run.pk, "--output", "metrics.csv")

    assert (here / "metrics.csv").read_bytes().count(b"\r\n") == 101


def test_file_mode_follows_the_umask(run, here):
    call_command("export_run", run.pk)

    (here / "plain").touch()
    assert mode(here / f"{run.pk}.parquet") == mode(here / "plain")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_dash_writes_to_standard_output(run, here, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)

    call_command("export_run", run.pk, "--output", "-", "--format", "csv")

    assert stdout.buffer.getvalue().count(b"\r\n") == 101
    assert names(here) == []


def test_progress_ends_at_the_number_of_points(run, monkeypatch):
    bars = []

    def bar(**kwargs):
        bars.append(tqdm(**{**kwargs, "disable": False, "file": io.StringIO()}))
        return bars[0]

    monkeypatch.setattr(export_run, "tqdm", bar)
    monkeypatch.setattr(exports, "POINTS_PER_BATCH", 30)

    call_command("export_run", run.pk)

    assert (bars[0].total, bars[0].n) == (100, 100)


@pytest.mark.parametrize("unknown", ["run_unknown", "proj_unknown", "../etc"])
def test_unknown_id_is_rejected_in_one_line(unknown, here):
    with pytest.raises(CommandError) as error:
        call_command("export_run", unknown)

    assert unknown in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.returncode == 1
    assert names(here) == []


def test_unknown_format_is_rejected(run):
    with pytest.raises(CommandError, match="xlsx"):
        call_command("export_run", run.pk, "--format", "xlsx")


def test_interrupt_leaves_no_file(run, here, interrupted):
    with pytest.raises(CommandError) as error:
        call_command("export_run", run.pk)

    assert error.value.returncode == 130
    assert names(here) == []


def test_interrupt_keeps_the_existing_file(run, here, interrupted):
    (here / "metrics.csv").write_text("old")

    with pytest.raises(CommandError):
        call_command("export_run", run.pk, "--output", "metrics.csv")

    assert (here / "metrics.csv").read_text() == "old"
    assert names(here) == ["metrics.csv"]


@pytest.mark.parametrize("output", [".", "no/such/folder/x.csv"])
def test_unwritable_output_is_named(run, here, output):
    with pytest.raises(CommandError, match="Cannot write") as error:
        call_command("export_run", run.pk, "--output", output)

    assert output in str(error.value)
    assert names(here) == []


def test_error_is_in_chinese_on_a_chinese_terminal(monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")

    with pytest.raises(CommandError, match="没有"):
        call_command("export_run", "run_none")
