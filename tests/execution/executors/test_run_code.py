"""A run's code at its training: unpacked into the attempt's folder, fetched where it must be."""

import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation
from tensorboardX import SummaryWriter

from artifacts.storage import artifact_storage
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from metrics.models import MetricPoint
from runs.executors import CannotStart, WorkState
from runs.models import RunCode
from tests.code_bundles.bundles import bundle, commit, git_server
from tests.execution.executors.contract import poll_until
from tests.factories import RecipeFactory, running

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

SCRIPT = """
import os, pathlib, sys
code = os.environ["TRAINHUB_CODE_DIR"]
assert os.path.samefile(code, os.getcwd()), "it does not start in its code"
assert os.path.samefile(code, os.path.dirname(__file__))
import helper
print(helper.WORD, pathlib.Path("config/small.yaml").read_text())
"""
FILES = {"train.py": SCRIPT, "helper.py": "WORD = 'hello'", "config/small.yaml": "lr: 1"}


@pytest.fixture(autouse=True)
def english():
    """Errors say why in the reader's language."""
    with translation.override("en"):
        yield


@pytest.fixture
def executor():
    return ProcessExecutor()


def run_of(files=None, *, origin=None, **fields):
    recipe = RecipeFactory(
        command=[sys.executable, "{code}/train.py"], code="required", code_from="members"
    )
    run = running(recipe=recipe, total_steps=None, **fields)
    stored = None if files is None else bundle(files)
    RunCode.objects.create(run=run, bundle=stored, origin=origin or {})
    return run


def messages(run):
    return list(run.log_lines.order_by("seq").values_list("message", flat=True))


def test_training_starts_in_its_code(executor):
    run = run_of(FILES)

    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    assert messages(run) == ["hello lr: 1"]


def test_code_is_below_the_folder_of_the_attempt(executor):
    run = run_of(FILES)

    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    assert (Attempt.of(run).folder / "code" / "helper.py").read_text() == FILES["helper.py"]


def test_each_attempt_gets_the_code_as_it_was_brought(executor):
    run = run_of({"train.py": "open('helper.py', 'w').write('changed')", "helper.py": "x"})
    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)
    run.change(attempt=2)

    executor.start(run, run.worker)

    poll_until(executor, run, WorkState.FINISHED)
    assert RunCode.of(run).bundle == bundle(
        {"train.py": "open('helper.py', 'w').write('changed')", "helper.py": "x"}
    )


def test_run_without_code_starts_as_before(executor):
    run = running(
        recipe=RecipeFactory(script="import os; print('TRAINHUB_CODE_DIR' in os.environ)")
    )

    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    assert messages(run) == ["False"]


def test_code_whose_bytes_are_gone_cannot_start(executor):
    run = run_of(FILES)
    artifact_storage().delete(RunCode.of(run).bundle.stored_as)

    with pytest.raises(CannotStart, match="missing"):
        executor.start(run, run.worker)


def test_damaged_code_cannot_start(executor):
    run = run_of(FILES)
    stored = Path(artifact_storage().path(RunCode.of(run).bundle.stored_as))
    content = bytearray(stored.read_bytes())
    content[50] ^= 0xFF
    stored.write_bytes(content)

    with pytest.raises(CannotStart, match="cannot be used"):
        executor.start(run, run.worker)


def test_event_files_that_the_code_brings_are_no_metrics_of_the_run(executor):
    folder = settings.WORK_DIR.parent / "old"
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("loss", 1.0, 1)
    old = next(folder.iterdir())
    run = run_of({"train.py": "", f"runs/{old.name}": old.read_bytes()})

    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    assert not MetricPoint.objects.filter(series__run=run).exists()


def test_revision_is_fetched_by_the_worker_and_stays_with_the_run(executor, tmp_path):
    made = commit(tmp_path / "served/model", {"train.py": "print('of git')"})
    with git_server(tmp_path / "served") as server:
        run = run_of(origin={"git_url": f"{server}/model", "revision": "main"})
        commit_later = {"train.py": "print('later')"}

        executor.start(run, run.worker)
        poll_until(executor, run, WorkState.FINISHED)
        commit(tmp_path / "served/model", commit_later)

    kept = RunCode.of(run)
    assert messages(run) == ["of git"]
    assert kept.origin["commit"] == made
    assert kept.bundle == bundle({"train.py": "print('of git')"})


def test_revision_that_is_gone_cannot_start(executor, tmp_path):
    commit(tmp_path / "served/model", {"train.py": ""})
    with git_server(tmp_path / "served") as server:
        run = run_of(origin={"git_url": f"{server}/model", "revision": "gone"})

        with pytest.raises(CannotStart, match="no branch or tag gone"):
            executor.start(run, run.worker)
