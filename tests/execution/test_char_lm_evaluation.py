"""Real processes: a training whose every second checkpoint is evaluated, and its release."""

import io
import json

import pytest
from django.core.management import call_command

from artifacts.evaluation_runs import evaluate
from execution.worker import WorkerLoop
from registry.checkpoints import rows_of
from runs.actions import create_run
from runs.models import Recipe
from runs.status import RunStatus
from tests.examples.test_char_lm import natural_text
from tests.execution.test_char_lm import SMALL
from tests.execution.worker_loops import over, tick_until
from tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def text(tmp_path, settings):
    settings.DATASET_DIRS = [str(tmp_path)]
    path = tmp_path / "text.txt"
    path.write_text(natural_text(), encoding="utf-8")
    return str(path)


@pytest.fixture
def recipe():
    call_command("loaddata", "examples/char_lm/recipe-evaluation.json", verbosity=0)
    return Recipe.objects.get(name="char-lm-evaluation")


@pytest.fixture
def loop():
    loop = WorkerLoop(name="one", slots=4)
    loop.register()
    return loop


def test_evaluation_measures_the_checkpoint_on_held_out_text(text, recipe, loop):
    project = ProjectFactory(default_hyperparameters=SMALL)
    training = create_run(
        project,
        by=None,
        recipe=Recipe.objects.get(name="char-lm"),
        dataset=text,
        hyperparameters={"max_steps": 100},
    )
    tick_until(loop, lambda: over(training))
    first, last = training.artifacts.checkpoints().order_by("step")

    evaluations = [evaluate(it, recipe=recipe, by=None) for it in (first, last)]
    tick_until(loop, lambda: all(over(it) for it in evaluations))

    results = [row.results for row in rows_of([first, last], [])]
    told = json.load(io.TextIOWrapper(training.artifacts.get(file="evaluation.json").open()))
    assert [run.status for run in evaluations] == [RunStatus.COMPLETED] * 2
    assert results[1]["heldout_loss"] < results[0]["heldout_loss"]
    # All held-out characters are few enough for the training to have measured them, too.
    assert results[1]["heldout_loss"] == pytest.approx(told["eval_loss"], rel=1e-5)
