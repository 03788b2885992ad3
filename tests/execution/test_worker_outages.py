"""A worker whose database is away, or that is frozen in a transaction itself."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from execution.executors.simulated import SimulatedExecutor
from runs.models import EventKind, Run, Worker
from runs.status import RunStatus
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.execution.worker_loops import at_step, kinds, over, worker_loop
from tests.factories import RunFactory
from tests.waiting import wait_until
from tests.workers import WorkerProcess
from trainhub.up.embedded_postgres import EmbeddedPostgres

COMMITTED = pytest.mark.django_db(transaction=True, serialized_rollback=True)


class Unserved(SimulatedExecutor):
    """Polls raise ``error`` while it is set."""

    error = None

    def poll(self, run, worker):
        if self.error is not None:
            raise self.error
        return super().poll(run, worker)


def unserved(sqlstate):
    error = OperationalError("not now")
    error.__cause__ = psycopg.errors.lookup(sqlstate)("not now")
    return error


@COMMITTED
def test_loop_outlasts_an_outage_and_tells_the_runs_readers(monkeypatch, caplog):
    monkeypatch.setattr("execution.worker.NOTED_OUTAGE_SECONDS", 0.0)
    executor = Unserved(steps_per_poll=1)
    loop = worker_loop(simulated=executor)
    run = RunFactory(hyperparameters={"max_steps": 100_000})

    def interrupt():
        try:
            wait_until(lambda: at_step(run, 1))
            executor.error = unserved("57P01")
            wait_until(lambda: loop._outage.is_on)
            executor.error = None
            wait_until(lambda: EventKind.FAULT_OVER in kinds(run))
        finally:
            loop.stopping.set()

    assert in_parallel(loop.run, interrupt) == [None, None]
    run.refresh_from_db()
    assert run.status_reason == ""
    assert kinds(run).count(EventKind.FAULT) == 1
    assert "one waits for the database" in caplog.text
    assert "one has the database again" in caplog.text
    assert "Traceback" not in caplog.text


@COMMITTED
def test_worker_registers_once_every_migration_is_applied():
    loop = worker_loop()
    missing = MigrationRecorder(connection).migration_qs.filter(app="metrics").last()
    missing.delete()

    def migrate_late():
        try:
            try:
                wait_until(lambda: loop._outage.is_on)
                assert not Worker.objects.exists()
            finally:
                missing.save()  # no other test could go on without it
            wait_until(Worker.objects.exists)
        finally:
            loop.stopping.set()

    assert in_parallel(loop.run, migrate_late) == [None, None]


@pytest.mark.django_db
def test_run_whose_row_is_locked_does_not_delay_the_others(caplog):
    class Locked(SimulatedExecutor):
        def poll(self, run, worker):
            if run.name == "locked":
                raise unserved("55P03")
            return super().poll(run, worker)

    loop = worker_loop(simulated=Locked(steps_per_poll=20))
    loop.register()
    locked = RunFactory(name="locked")
    other = RunFactory(name="other", hyperparameters={"max_steps": 20})

    for _pass in range(3):
        loop.tick()

    assert over(other)
    locked.refresh_from_db()
    assert locked.status == RunStatus.RUNNING
    assert caplog.text.count(f"run {locked.pk} waits") == 1
    assert "Traceback" not in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("error", [InterfaceError("closed"), OperationalError("gone")])
def test_heartbeat_goes_on_after_a_lost_connection(monkeypatch, settings, error):
    settings.WORKER_LEASE_SECONDS = 0.04
    loop = worker_loop()
    beats = []

    def beat():
        beats.append(len(beats))
        if len(beats) < 3:
            raise error
        loop.stopping.set()

    monkeypatch.setattr(loop, "heartbeat", beat)
    in_parallel(loop._send_heartbeats)

    assert beats == [0, 1, 2]


# --- frozen ----------------------------------------------------------------------------------


@contextmanager
def frozen_worker(**environment):
    """A run, and the worker that is frozen while it holds the lock of its row."""
    run = RunFactory(hyperparameters={"max_steps": 100_000}, total_steps=100_000)
    worker = WorkerProcess("frozen", **environment)
    try:
        wait_until(lambda: at_step(run, 1))
        with transaction_elsewhere(lambda: Run.objects.lock(run.pk)):
            wait_until(waits_for_a_run)
            worker.process.send_signal(signal.SIGSTOP)
        yield run, worker
    finally:
        worker.process.send_signal(signal.SIGCONT)
        worker.kill()


def waits_for_a_run():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE '%runs_run%'"
        )
        return cursor.fetchone()[0]


@pytest.mark.processes
@COMMITTED
def test_worker_frozen_in_a_transaction_loses_its_lock_but_not_its_run():
    with frozen_worker() as (run, worker):
        frozen_at = wait_until(lambda: lock_if_free(run)).step
        worker.process.send_signal(signal.SIGCONT)

        wait_until(lambda: at_step(run, frozen_at + 1))
        assert worker.process.poll() is None
        assert (run.attempt, run.worker.name) == (1, "frozen")
        assert_every_step_once(run)


@pytest.mark.processes
@COMMITTED
def test_frozen_worker_leaves_its_run_to_the_one_that_took_it_over():
    lease = {"TRAINHUB_WORKER_LEASE_SECONDS": 2}
    with frozen_worker(**lease) as (run, worker):
        survivor = WorkerProcess("survivor", **lease)
        try:
            wait_until(lambda: is_held_by(run, "survivor"))
            worker.process.send_signal(signal.SIGCONT)
            wait_until(lambda: at_step(run, run.step + 100))

            assert worker.process.poll() is None
            assert (run.attempt, run.worker.name) == (2, "survivor")
            assert_every_step_once(run)
        finally:
            survivor.kill()


def is_held_by(run, name):
    run.refresh_from_db()
    return run.worker is not None and run.worker.name == name


def assert_every_step_once(run):
    steps = list(run.series.get(key="train_loss").points.order_by("step").values_list("step"))
    assert steps == [(step,) for step in range(1, len(steps) + 1)]


def lock_if_free(run):
    """The row, if nobody has locked it."""
    free = Run.objects.filter(pk=run.pk).select_for_update(skip_locked=True, no_key=True)
    with transaction.atomic():
        return free.first()


# --- a database of its own -------------------------------------------------------------------


@pytest.fixture
def cluster():
    """A stopped PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="th-", dir="/tmp") as folder:
        cluster = EmbeddedPostgres(Path(folder) / "pg", settings={"fsync": "off"})
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.mark.processes
@COMMITTED
def test_worker_waits_for_its_database_to_start_be_migrated_and_come_back(cluster):
    worker = WorkerProcess("patient", DATABASE_URL=cluster.url, TRAINHUB_WORKER_LEASE_SECONDS=2)
    try:
        wait_until(lambda: "waits for the database" in worker.output())
        cluster.start()
        migrate(cluster.url)
        first = wait_until(lambda: heartbeat(cluster.url))

        cluster.stop()
        cluster.start()

        wait_until(lambda: heartbeat(cluster.url) > first)
        worker.terminate()
        assert worker.wait() == 0
        assert "Traceback" not in worker.output()
    finally:
        if worker.process.poll() is None:
            worker.kill()


def migrate(url):
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": url},
        check=True,
    )


def heartbeat(url):
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT last_heartbeat FROM runs_worker").fetchone()
    return row and row[0]
