"""manage.py advance_runs: one deterministic pass."""

import pytest
from django.core.management import CommandError, call_command

from runs.models import Worker
from runs.status import RunStatus
from tests.factories import RecipeFactory, RunFactory, running

pytestmark = pytest.mark.django_db


def advance(**options):
    call_command("advance_runs", verbosity=0, **options)


def steps_after(passes, run, **options):
    steps = []
    for _ in range(passes):
        advance(**options)
        run.refresh_from_db()
        steps.append(run.step)
    return steps


def test_every_pass_advances_by_the_same_number_of_steps():
    assert steps_after(4, RunFactory(), steps=10) == [10, 20, 30, 40]


def test_every_run_advances_by_the_same_number_of_steps():
    runs = RunFactory.create_batch(12)
    advance(steps=10)
    RunFactory()

    advance(steps=10)

    for run in runs:
        run.refresh_from_db()
    assert {run.step for run in runs} == {20}


def test_pass_keeps_the_attempt_and_releases_the_run():
    run = RunFactory()

    advance(steps=10)
    advance(steps=10)

    run.refresh_from_db()
    assert (run.status, run.worker, run.attempt) == (RunStatus.RUNNING, None, 1)


def test_run_that_reaches_its_end_is_completed():
    run = RunFactory()

    advance(steps=100)

    run.refresh_from_db()
    assert (run.status, run.step) == (RunStatus.COMPLETED, 100)


def test_one_pass_and_many_passes_give_the_same_curve():
    at_once, in_passes = RunFactory(), RunFactory()
    advance(steps=100, slots=1)
    for _ in range(10):
        advance(steps=10)

    curves = [
        list(run.series.get(key="train_loss").points.order_by("step").values_list("step", "value"))
        for run in (at_once, in_passes)
    ]

    assert curves[0] == curves[1]
    assert len(curves[0]) == 100


def test_runs_of_workers_and_processes_are_left_alone():
    held, process = running(), RunFactory(recipe=RecipeFactory())

    advance(steps=10)

    held.refresh_from_db()
    process.refresh_from_db()
    assert held.step == 0
    assert process.status == RunStatus.QUEUED


def test_pass_prints_a_summary_and_leaves_no_worker_behind(capsys):
    RunFactory.create_batch(2)

    call_command("advance_runs", steps=5)

    assert "2" in capsys.readouterr().out
    assert not Worker.objects.alive().exists()


@pytest.mark.parametrize("steps", ["0", "-1", "many"])
def test_invalid_number_of_steps_is_refused(steps):
    with pytest.raises(CommandError):
        call_command("advance_runs", "--steps", steps)
