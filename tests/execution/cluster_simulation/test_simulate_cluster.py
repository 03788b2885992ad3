"""manage.py simulate_cluster: the real scheduler under a simulated clock."""

from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from core.database import current_time
from execution.cluster_simulation.cluster import Cluster, Conditions
from execution.cluster_simulation.results import summary
from execution.cluster_simulation.sandbox import sandbox
from execution.cluster_simulation.trace import Ending, Job
from execution.management.commands.simulate_cluster import BEGAN
from execution.scheduling.rules import FIRST_IN_FIRST_OUT
from projects.models import Project
from runs.models import Run, RunEvent
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def played(jobs, **conditions):
    """The runs, and what the tables held of them at the end."""
    with sandbox(BEGAN) as clock:
        cluster = Cluster(clock, jobs, Conditions(**{"gpus": 8, "node_failures": 0} | conditions))
        for _over in cluster.play():
            cluster.write()
            in_use = sum(run.job.gpu_count for run in cluster._held.values())
            assert in_use == sum(Run.objects.gpus_in_use().values()) <= 8
        statuses = list(Run.objects.order_by("id").values_list("status", flat=True))
        events = RunEvent.objects.count()
    return cluster.outcome, statuses, events


def job(submitted, gpus, seconds, **fields):
    return Job(submitted, gpus, seconds, fields.pop("planned", seconds), **fields)


def test_run_that_does_not_fit_waits_for_the_one_before():
    outcome, statuses, _events = played([job(0, 8, 100), job(10, 8, 50)], resolution_seconds=1.0)

    first, second = outcome.runs
    assert (first.started, first.ended) == (0, 100)
    assert (second.started, second.ended) == (100, 150)
    assert statuses == [RunStatus.COMPLETED] * 2


def test_short_run_goes_ahead_only_with_backfilling():
    # The first runs teach how long such runs take.
    taught = [job(number, 1, 5, project="a") for number in range(0, 120, 10)]
    jobs = [*taught, job(200, 4, 100), job(201, 8, 50), job(202, 1, 20, project="a")]

    waited = {
        name: played(jobs, resolution_seconds=1.0, rules=rules)[0].runs[-1].waited
        for name, rules in (("backfill", None), ("fifo", FIRST_IN_FIRST_OUT))
    }

    assert waited == {"backfill": 0, "fifo": 148}


def test_start_of_a_run_that_waits_is_estimated():
    taught = [job(number * 100, 8, 100, project="a") for number in range(12)]
    jobs = [*taught, job(2000, 8, 100, project="a"), job(2001, 8, 50, project="b")]

    outcome, _statuses, _events = played(jobs, resolution_seconds=1.0)

    *_others, last = outcome.runs
    assert last.estimate is not None
    made, told = last.estimate
    assert made == pytest.approx(2061, abs=2)
    assert told == pytest.approx(last.started, abs=20)


def test_runs_end_as_their_jobs_say():
    _outcome, statuses, events = played(
        [job(0, 1, 5), job(0, 1, 5, ending=Ending.FAILED), job(0, 1, 5, ending=Ending.CANCELLED)]
    )

    assert statuses == [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]
    assert events == 9  # created, claimed, ended


def test_urgent_run_takes_the_gpus_of_a_preemptible_one_that_goes_on_later():
    outcome, _statuses, _events = played(
        [job(0, 8, 1000, preemptible=True), job(100, 8, 50, priority=5)],
        resolution_seconds=1.0,
        save_seconds=10.0,
    )

    victim, urgent = outcome.runs
    assert (urgent.started, urgent.ended) == (110, 160)
    assert (victim.preemptions, victim.lost_seconds, victim.ended) == (1, 0.0, 1050)


def test_run_of_a_node_that_breaks_goes_on_from_its_checkpoint():
    outcome, _statuses, _events = played(
        [job(0, 8, 400_000)], node_failures=100.0, checkpoint_seconds=1000.0
    )

    [run] = outcome.runs
    assert run.restarts > 0
    assert 0 < run.lost_seconds < run.restarts * 1000
    assert run.held_seconds == pytest.approx(400_000 + run.lost_seconds, abs=10 * run.restarts + 10)
    assert summary(outcome).goodput < 1


def test_tables_and_clock_of_the_database_are_left_alone():
    kept = RunFactory()

    with sandbox(BEGAN) as clock:
        clock.set(60.0)
        assert Run.objects.count() == 0
        assert current_time() == timezone.now() == clock.time()

    assert list(Run.objects.all()) == [kept]
    assert abs(current_time() - timezone.now()).total_seconds() < 60
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'simulation%'")
        assert cursor.fetchone() == (0,)


def test_command_compares_policies_and_draws(tmp_path):
    output = StringIO()
    call_command(
        "simulate_cluster", "--days", "0.2", "--runs", "60", "--gpus", "32", "--compare",
        "--no-progress", "--out", str(tmp_path), stdout=output,
    )  # fmt: skip

    text = output.getvalue()
    assert "first in, first out" in text
    assert "evaluation" in text
    assert "<svg" in (tmp_path / "utilization.svg").read_text()
    assert "<svg" in (tmp_path / "waiting.svg").read_text()
    assert (tmp_path / "tables.md").read_text().startswith("|")


def test_command_takes_a_trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("submitted,gpus,seconds\n0,4,60\n5,8,60\n")
    output = StringIO()

    call_command("simulate_cluster", "--trace", str(path), "--gpus", "8", "--reserve", "0",
                 "--no-progress", stdout=output)  # fmt: skip

    assert "claims" in output.getvalue()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--days", "0"], "--days"),
        (["--runs", "-1"], "--runs"),
        (["--load", "nan"], "--load"),
        (["--reserve", "1"], "--reserve"),
        (["--failures", "-1"], "--failures"),
        (["--resolution", "0"], "--resolution"),
        (["--trace", "nowhere.csv"], "cannot be read"),
    ],
)
def test_nonsense_is_refused(arguments, why):
    with pytest.raises(CommandError, match=why):
        call_command("simulate_cluster", *arguments)


@pytest.mark.django_db
def test_database_that_is_not_up_to_date_is_refused():
    MigrationRecorder.Migration.objects.filter(app="metrics").last().delete()

    with pytest.raises(CommandError, match=r"manage\.py migrate"):
        call_command("simulate_cluster")


def test_job_larger_than_the_cluster_is_refused(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("submitted,gpus,seconds\n0,9,60\n")

    with pytest.raises(CommandError, match="needs 9 GPUs"):
        call_command("simulate_cluster", "--trace", str(path), "--gpus", "8", "--no-progress")


def test_simulations_of_processes_with_the_same_number_have_tables_of_their_own():
    """As in two containers; here, two threads of a process have sessions of their own."""

    def begin_another():
        with sandbox(BEGAN):
            ProjectFactory()
            count = Project.objects.count()
        connection.close()
        return count

    with sandbox(BEGAN):
        with ThreadPoolExecutor(1) as other:
            of_other = other.submit(begin_another).result()
        own = Project.objects.count()

    assert (own, of_other) == (0, 1)
