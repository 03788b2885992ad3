"""Real processes: a training, evaluations of its checkpoints by rule, and a release."""

import io
import json

import pytest
from django.core.management import call_command

from accounts.roles import Role
from artifacts.released import released
from execution.worker import WorkerLoop
from registry.approval import GatesNotPassed, approve, ask
from registry.checkpoints import rows_of
from registry.evaluation_rules import create_rule
from registry.release_policy import change_policy
from runs.actions import create_run
from runs.models import Recipe, RecipeKind
from runs.status import TERMINAL, RunStatus
from tests.examples.test_char_lm import natural_text
from tests.execution.test_char_lm import SMALL
from tests.execution.worker_loops import over, tick_until
from tests.factories import ProjectFactory, member_of

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


def test_checkpoints_are_evaluated_by_rule_and_released_through_a_gate(text, recipe, loop):
    project = ProjectFactory(default_hyperparameters=SMALL)
    create_rule(project, by=None, recipe=recipe, every=1)
    training = create_run(
        project,
        by=None,
        recipe=Recipe.objects.get(name="char-lm"),
        dataset=text,
        hyperparameters={"max_steps": 100},
    )
    tick_until(loop, lambda: over(training))
    first, last = training.artifacts.checkpoints().order_by("step")

    evaluations = project.runs.filter(kind=RecipeKind.EVALUATION)
    ended = evaluations.filter(status__in=TERMINAL)
    tick_until(loop, lambda: ended.count() == 2)

    results = [row.results for row in rows_of([first, last], [])]
    told = json.load(io.TextIOWrapper(training.artifacts.get(file="evaluation.json").open()))
    assert {run.status for run in evaluations} == {RunStatus.COMPLETED}
    assert results[1]["heldout_loss"] < results[0]["heldout_loss"]
    # All held-out characters are few enough for the training to have measured them, too.
    assert results[1]["heldout_loss"] == pytest.approx(told["eval_loss"], rel=1e-5)
    threshold = sum(row["heldout_loss"] for row in results) / 2
    gate = {"kind": "metric", "key": "heldout_loss", "comparison": "<=", "threshold": threshold}
    change_policy(project, by=None, needs_approval=True, gates=[gate, {"kind": "bytes"}])
    member, maintainer = member_of(project), member_of(project, Role.MAINTAINER)
    with pytest.raises(GatesNotPassed, match="heldout_loss"):
        approve(ask(first, notes="", by=member), notes="", by=maintainer)
    approve(ask(last, notes="", by=member), notes="", by=maintainer)
    assert list(released()) == [last]
