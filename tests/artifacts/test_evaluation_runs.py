"""Runs that evaluate a checkpoint, and to what their results belong."""

import io
import json

import pytest
from django.core.management import call_command

from artifacts import storing
from artifacts.checkpoints import InvalidSource
from artifacts.evaluation_runs import evaluate
from artifacts.models import EvaluationResult
from core.exceptions import InvalidInput
from metrics.points import Point
from metrics.recording import record_metrics
from registry import checkpoint_queries
from registry.checkpoints import rows_of
from runs.models import Recipe, RecipeKind
from runs.signals import run_completed
from runs.status import RunStatus
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, UserFactory, checkpoint

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture
def recipe():
    return RecipeFactory(kind=RecipeKind.EVALUATION, default_hyperparameters={"samples": 10})


@pytest.fixture
def run():
    project = ProjectFactory(default_hyperparameters={"max_steps": 400})
    return RunFactory(project=project, status=RunStatus.COMPLETED, step=300)


def results_of(artifact):
    return rows_of([artifact], [])[0].results


def told(evaluation, **numbers):
    storing.store_evaluation(evaluation, io.BytesIO(json.dumps(numbers).encode()), step=None)


def test_evaluation_starts_from_the_checkpoint_with_its_recipes_hyperparameters(run, recipe):
    artifact, user = checkpoint(run, step=100), UserFactory()

    evaluation = evaluate(artifact, recipe=recipe, by=user, hyperparameters={"tasks": "mmlu"})

    assert evaluation.status == RunStatus.QUEUED
    assert (evaluation.resumed_from_id, evaluation.start_step) == (artifact.pk, 100)
    assert evaluation.hyperparameters == {"samples": 10, "tasks": "mmlu"}
    assert (evaluation.model, evaluation.dataset) == (run.model, run.dataset)
    assert (evaluation.kind, evaluation.created_by) == (RecipeKind.EVALUATION, user)


def test_recipe_that_trains_is_refused(run):
    with pytest.raises(InvalidInput, match="not of the kind evaluation"):
        evaluate(checkpoint(run), recipe=RecipeFactory(), by=None)


def test_disabled_recipe_is_refused(run, recipe):
    Recipe.objects.filter(pk=recipe.pk).update(enabled=False)
    recipe.refresh_from_db()

    with pytest.raises(InvalidInput, match="disabled"):
        evaluate(checkpoint(run), recipe=recipe, by=None)


def test_damaged_checkpoint_is_refused(run, recipe):
    artifact = checkpoint(run)
    artifact.set_damage("cut off")

    with pytest.raises(InvalidSource, match="cut off"):
        evaluate(artifact, recipe=recipe, by=None)


def test_files_of_the_evaluation_belong_to_the_checkpoint(run, recipe):
    artifact, other = checkpoint(run, step=100), checkpoint(run, step=200)

    told(evaluate(artifact, recipe=recipe, by=None), step=7, acc=0.5)

    assert results_of(artifact) == {"acc": 0.5}
    assert results_of(other) == {}


def test_metrics_belong_to_the_checkpoint_once_the_evaluation_has_completed(run, recipe):
    artifact = checkpoint(run, step=100)
    evaluation = evaluate(artifact, recipe=recipe, by=None)
    points = [("eval_loss", 2.0), ("worse", float("nan")), ("system/cpu", 1.0)]
    record_metrics(evaluation, [Point(key, 100, value, 0) for key, value in points])
    evaluation.refresh_from_db()
    before = results_of(artifact)

    run_completed.send(type(run), run=evaluation)

    assert before == {}
    assert results_of(artifact) == {"eval_loss": 2.0}


def test_evaluation_counts_more_than_what_the_training_tells(run, recipe):
    artifact = checkpoint(run, step=100)
    told(evaluate(artifact, recipe=recipe, by=None), acc=0.5)
    storing.store_evaluation(run, io.BytesIO(b'{"step": 150, "acc": 0.9}'), step=150)

    ranks = checkpoint_queries.ranked_results(run.project_id, "acc", lowest_first=False, limit=9)

    assert results_of(artifact) == {"acc": 0.5}
    assert [(rank.checkpoint_id, rank.value) for rank in ranks] == [(artifact.pk, 0.5)]


def test_another_checkpoint_of_the_same_step_has_not_been_evaluated(run, recipe):
    artifact = checkpoint(run, step=100)
    evaluation = evaluate(artifact, recipe=recipe, by=None)
    other = storing.store_checkpoint(run, io.BytesIO(b"other"), step=100, suffix=".bin")
    told(evaluation, acc=0.5)

    ranks = checkpoint_queries.ranked_results(run.project_id, "acc", lowest_first=False, limit=9)

    assert other.pk != artifact.pk
    assert results_of(other) == {}
    assert [rank.checkpoint_id for rank in ranks] == [artifact.pk]


def test_worker_runs_the_evaluation_of_simulated_recipes(run):
    recipe = RecipeFactory(executor="simulated", command=[], kind=RecipeKind.EVALUATION)
    artifact = checkpoint(run, step=100)
    evaluation = evaluate(artifact, recipe=recipe, by=None, hyperparameters={"max_steps": 101})

    call_command("advance_runs", steps=10, verbosity=0)

    assert EvaluationResult.objects.filter(checkpoint=artifact, evaluated_by=evaluation).exists()
