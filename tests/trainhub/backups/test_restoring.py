"""What is restored is what was backed up: row for row and byte for byte, also under load."""

import io
import json
import threading

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
from runs.models import Run
from tests.factories import ProjectFactory, unmanaged_run
from tests.trainhub.backups.conftest import all_rows, backup, content_of, restore, stored_bytes
from tests.waiting import wait_until
from trainhub.backups.restoring import unknown_migrations

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("english_terminal"),
]

# Before the newest migrations, but for those of the tables that a backup reads.
OLDER = [("registry", "0005_releases_and_rules"), ("execution", "0002_waiting_bytes")]


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
        self.rounds = self.steps = 0
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
            self.steps += 1
        with transaction.atomic():
            file_tree.delete(run, "3.txt")


def test_backup_under_load_is_consistent(place, elsewhere):
    with Load(ProjectFactory()) as load:
        before = load.steps
        made = backup(place)
        during = load.steps - before
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


def test_backup_of_an_older_release_is_migrated(run, place, tmp_path, elsewhere):
    backup(place)
    rows = all_rows()
    with elsewhere.used():
        restore(place)
        for app, name in OLDER:
            call_command("migrate", app, name, verbosity=0)
        older = tmp_path / "older"
        backup(older)
        assert all_rows() != rows

        restore(older, "--force")

        restored, applied = all_rows(), rows.pop("django_migrations")
        assert len(restored.pop("django_migrations")) == len(applied)
        assert restored == rows


def test_migrations_of_earlier_releases_that_are_gone_are_no_newer_ones():
    known = ["0001_initial", "0029_files_not_sent", "0001_squashed_0029_files_not_sent"]

    assert unknown_migrations({"runs": [*known, "0007_script_tokens"], "gone_app": []}) == []
    assert unknown_migrations({"runs": ["9999_later"]}) == ["runs.9999_later"]
