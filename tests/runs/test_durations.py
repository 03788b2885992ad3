"""How long a new run is expected to take, by earlier ones like it."""

import pytest

from runs.durations import expected_seconds
from runs.status import RunStatus
from tests.factories import ProjectFactory, RecipeFactory, RunFactory

pytestmark = pytest.mark.django_db


def ended(project, seconds, step=100, **fields):
    fields = {"status": RunStatus.COMPLETED, "total_steps": 100} | fields
    return RunFactory(project=project, held_seconds=seconds, step=step, **fields)


def test_nothing_is_expected_without_earlier_runs():
    assert expected_seconds(RunFactory()) is None


def test_longer_run_is_expected_to_take_longer():
    project = ProjectFactory()
    for seconds in (90.0, 100.0, 500.0):
        ended(project, seconds)

    assert expected_seconds(RunFactory(project=project, total_steps=1000)) == 1000.0


def test_runs_that_ended_early_tell_the_time_of_a_step():
    project = ProjectFactory()
    ended(project, 20.0, step=10, status=RunStatus.FAILED)

    assert expected_seconds(RunFactory(project=project, total_steps=100)) == 200.0


def test_resumed_run_has_only_the_rest_to_do():
    project = ProjectFactory()
    ended(project, 100.0)

    resumed = RunFactory(project=project, total_steps=100, start_step=60, step=60)

    assert expected_seconds(resumed) == 40.0


def test_run_without_steps_is_expected_to_take_as_long_as_completed_ones():
    project = ProjectFactory()
    ended(project, 30.0, step=0)
    ended(project, 1.0, step=0, status=RunStatus.FAILED)

    assert expected_seconds(RunFactory(project=project, total_steps=None)) == 30.0


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"gpu_count": 8}, id="other number of GPUs"),
        pytest.param({"held_seconds": None}, id="never held"),
    ],
)
def test_other_runs_do_not_count(fields):
    project = ProjectFactory()
    ended(project, **({"seconds": 100.0} if "held_seconds" not in fields else {"seconds": 0.0}))
    project.runs.update(**fields)

    assert expected_seconds(RunFactory(project=project)) is None


def test_runs_of_another_recipe_do_not_count():
    project = ProjectFactory()
    ended(project, 100.0)

    assert expected_seconds(RunFactory(project=project, recipe=RecipeFactory())) is None
