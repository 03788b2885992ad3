"""What is restored is what was backed up: row for row and byte for byte, also under load."""

import hashlib
import io
import json
import threading
from functools import partial
from unittest.mock import Mock

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction

from artifacts import file_tree, storing, uploads
from artifacts.models import Artifact, EvaluationResult
from execution import outputs
from logs.appending import append_log
from logs.lines import Line
from logs.models import LogLine
from metrics.models import MetricPoint, MetricSeries
from metrics.points import Point, Points
from metrics.recording import record_points
from projects.models import Project
from runs.models import Run, RunCode
from tests.code_bundles.bundles import bundle
from tests.concurrency import in_parallel
from tests.factories import ProjectFactory, checkpoint, damage, stored_path, unmanaged_run
from tests.trainhub.backups.conftest import all_rows, stored_bytes
from tests.waiting import wait_until
from trainhub.backups.making import _Copying
from trainhub.backups.place import find

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("english_terminal"),
]


@pytest.fixture
def english_terminal(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def backup(place, *options):
    call_command("backup", str(place), *options, stdout=io.StringIO())
    return find(place)


def restore(place, *options):
    call_command("restore", str(place), *options, stdout=io.StringIO())


def content_of(artifact):
    with artifact.open() as file:
        return file.read()


@pytest.fixture
def run():
    """With points, lines, files of all kinds, and code."""
    run = unmanaged_run()
    record_points(
        run.pk, Points.of([Point("loss", step, 1 / (step + 1), step) for step in range(20)])
    )
    append_log(run, [Line.new("第一行"), Line.new("second")])
    uploads.store(run, "notes/读我.txt", io.BytesIO("你好".encode()))
    checkpoint(run, step=10).tag("发布", notes="", by=None)
    outputs.store_events(run)
    storing.store_evaluation(run, io.BytesIO(b'{"accuracy": 0.5}'), step=10)
    RunCode.objects.create(run=run, bundle=bundle({"train.py": "print(1)"}))
    return run


def test_restored_is_row_for_row_and_byte_for_byte_what_was_backed_up(run, place, elsewhere):
    backup(place, "--verify")
    rows, files = all_rows(), stored_bytes()

    with elsewhere.used():
        restore(place)

        assert all_rows() == rows
        assert stored_bytes() == files
    assert len(files) == 5


def test_backup_from_s3_is_restored_into_files(s3, run, place, elsewhere):
    backup(place)
    files = stored_bytes()

    with elsewhere.used():
        restore(place)

        assert stored_bytes() == files
    assert len(files) == 5


def test_rows_are_created_after_a_restore(run, place, elsewhere):
    backup(place)

    with elsewhere.used():
        restore(place)
        again = unmanaged_run(project=Project.objects.get())
        record_points(again.pk, Points.of([Point("loss", 0, 1.0, 0)]))
        append_log(again, [Line.new("anew")])

        assert MetricPoint.objects.count() == 21
        assert LogLine.objects.count() == 3


class Load:
    """Adds runs, points, lines and files, rewrites and deletes files, until it is stopped."""

    def __init__(self, project) -> None:
        self.project = project
        self.rounds = 0
        self.error: Exception | None = None
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.rounds > 1 or self.error)
        return self

    def __exit__(self, *_exception) -> None:
        before = self.rounds
        wait_until(lambda: self.rounds > before or self.error)
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        try:
            while not self._stopped.is_set():
                self._round(number)
                self.rounds += 1
        except Exception as error:
            self.error = error
        finally:
            connection.close()

    def _round(self, number: int) -> None:
        run = unmanaged_run(project=self.project)
        for step in range(4):
            record_points(run.pk, Points.of([Point("loss", step, 1.0, step)]))
            append_log(Run.objects.get(pk=run.pk), [Line.new(f"step {step}")])
            content = f"{run.pk} {step}".encode()
            uploads.store(run, "last.txt", io.BytesIO(content))  # replaces the one before
            uploads.store(run, f"{step}.txt", io.BytesIO(content * 1000))
            outputs.store_events(run)
            evaluation = json.dumps({"accuracy": step / 8}).encode()
            storing.store_evaluation(run, io.BytesIO(evaluation), step=step)
        with transaction.atomic():
            file_tree.delete(run, "3.txt")


def test_backup_under_load_is_consistent(place, elsewhere):
    with Load(ProjectFactory()) as load:
        before = load.rounds
        made = backup(place)
        during = load.rounds - before
    assert load.error is None
    assert during > 0

    with elsewhere.used():
        restore(place)
        artifacts = list(Artifact.objects.select_related("run"))
        problems = [it.pk for it in artifacts if it.problem() is not None]
        results = EvaluationResult.objects.values_list("artifact", "step", "value")
        evaluations = [it for it in artifacts if it.type == "evaluation"]
        counts = {it.pk: it.count for it in MetricSeries.objects.all()}

        assert (made.manifest.missing, made.manifest.differing) == ([], [])
        assert len(artifacts) > 10
        assert problems == []
        assert {(it.pk, it.step, it.step / 8) for it in evaluations} <= set(results)
        assert all(json.loads(content_of(it))["accuracy"] == it.step / 8 for it in evaluations)
        assert all(
            MetricPoint.objects.filter(series=pk).count() == count for pk, count in counts.items()
        )
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_constraint WHERE NOT convalidated")
            assert cursor.fetchone() == (0,)


@pytest.fixture
def after_the_snapshot(monkeypatch):
    """Lets something happen between the snapshot of the database and the copying of files."""

    def let_happen(action):
        copy_all = _Copying.copy_all

        def act():
            with transaction.atomic():
                action()

        def act_and_copy(copying):
            for problem in in_parallel(act):
                assert not isinstance(problem, Exception), problem
            copy_all(copying)

        monkeypatch.setattr(_Copying, "copy_all", act_and_copy)

    return let_happen


def test_deleted_files_stay_until_the_backup_has_them(run, place, elsewhere, after_the_snapshot):
    after_the_snapshot(partial(file_tree.delete, run, "notes/读我.txt"))

    made = backup(place)

    assert made.manifest.missing == []
    with elsewhere.used():
        restore(place)
        assert content_of(Artifact.objects.get(type="file")) == "你好".encode()


def test_row_of_a_rewritten_file_is_that_of_its_bytes(run, place, elsewhere, after_the_snapshot):
    evaluation = io.BytesIO(b'{"accuracy": 0.75}')
    after_the_snapshot(partial(storing.store_evaluation, run, evaluation, step=15))

    backup(place)

    with elsewhere.used():
        restore(place)
        restored = Artifact.objects.get(type="evaluation")
        content = content_of(restored)
        assert json.loads(content) == {"accuracy": 0.75}
        assert (restored.step, restored.sha256) == (15, hashlib.sha256(content).hexdigest())
        assert [(it.step, it.value) for it in EvaluationResult.objects.all()] == [
            (10, 0.5),
            (15, 0.75),
        ]


def test_damage_is_backed_up_as_it_is_and_told(run, place, monkeypatch):
    monkeypatch.setattr("trainhub.backups.making.SETTLED_WITHIN_SECONDS", 0.1)
    checkpoint, note = Artifact.objects.get(type="checkpoint"), Artifact.objects.get(type="file")
    damage(checkpoint)
    stored_path(note).unlink()

    with pytest.raises(CommandError, match="1 files are missing there, 1 are not") as told:
        backup(place)

    manifest = find(place).manifest
    assert told.value.returncode == 3
    assert (manifest.missing, manifest.differing) == ([note.storage_key], [checkpoint.storage_key])


def test_files_that_a_backup_has_are_not_copied_again(run, place):
    backup(place)
    before = {path: path.stat().st_ino for path in (place / "files").rglob("*")}
    uploads.store(run, "new.txt", io.BytesIO(b"new"))

    backup(place, "--keep", "1")

    after = {path: path.stat().st_ino for path in (place / "files").rglob("*")}
    assert after.items() >= before.items()
    assert sum(path.is_file() for path in after.keys() - before.keys()) == 1
    assert len(list(place.glob("2*"))) == 1


def test_files_of_removed_backups_go_unless_another_has_them(run, place):
    backup(place)
    file_tree.delete(run, "notes/读我.txt")

    kept = backup(place, "--keep", "1")

    names = {path.name for path in (place / "files").rglob("*") if path.is_file()}
    assert names == {file.sha256 for file in kept.files()}


def test_database_that_is_not_empty_is_replaced_only_by_force(run, place, elsewhere):
    backup(place)
    rows = all_rows()

    with elsewhere.used():
        restore(place)
        later = unmanaged_run(project=Project.objects.get())
        with pytest.raises(CommandError, match="not empty"):
            restore(place)
        assert Run.objects.filter(pk=later.pk).exists()

        restore(place, "--force")

        assert all_rows() == rows


def test_damaged_file_of_a_backup_is_told_and_leaves_the_database_empty(run, place, elsewhere):
    made = backup(place)
    file = next(made.files())
    path = made.pool.path(file.sha256)
    path.write_bytes(b"x" * file.size_bytes)

    with pytest.raises(CommandError, match=f"{file.sha256} is damaged"):
        restore(place, "--check")
    with elsewhere.used():
        with pytest.raises(CommandError, match=f"{file.sha256} is damaged"):
            restore(place)
        assert all_rows() == {}


def test_backup_of_a_newer_release_is_refused(place, elsewhere):
    made = backup(place)
    path = made.folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["migrations"]["runs"].append("9999_of_tomorrow")
    path.write_text(json.dumps(manifest))

    with elsewhere.used(), pytest.raises(CommandError, match=r"runs\.9999_of_tomorrow"):
        restore(place)


def test_interrupted_backup_is_none(place, monkeypatch):
    monkeypatch.setattr(_Copying, "copy_all", Mock(side_effect=KeyboardInterrupt))

    with pytest.raises(CommandError, match="Interrupted") as interrupted:
        backup(place)

    assert interrupted.value.returncode == 130
    with pytest.raises(CommandError, match="no finished backup"):
        restore(place)
