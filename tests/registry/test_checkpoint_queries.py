"""What was measured at the steps of checkpoints."""

import io
import json

import pytest

from artifacts import storing
from metrics.points import Point
from metrics.recording import record_metrics
from registry import checkpoint_queries
from tests.factories import ProjectFactory, checkpoint, running

pytestmark = pytest.mark.django_db


def report(run, key, values):
    """``values``: step → value."""
    record_metrics(run, [Point(key, step, value, 1000 * step) for step, value in values.items()])


def evaluate(run, step, **results):
    content = json.dumps({"step": step, **results}).encode()
    storing.store_evaluation(run, io.BytesIO(content), step=step)


def ranked(project, key, *, limit=10, lowest_first=False):
    ranks = checkpoint_queries.ranked_results(
        project.pk, key, lowest_first=lowest_first, limit=limit
    )
    return [(rank.checkpoint_id, rank.value) for rank in ranks]


# --- metrics ---------------------------------------------------------------------------------


def test_metric_at_a_step_is_the_newest_up_to_it():
    run = running()
    report(run, "loss", {10: 3.0, 20: 2.0, 30: 1.0})

    places = [(run.pk, 9), (run.pk, 10), (run.pk, 25), (run.pk, 99)]
    found = checkpoint_queries.metrics_at(places, ["loss"])

    assert found == [{}, {"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0}]


def test_metrics_of_another_run_and_other_keys_are_not_told():
    run, other = running(), running()
    report(run, "loss", {10: 3.0})
    report(run, "lr", {10: 0.1})
    report(other, "loss", {10: 9.0})

    assert checkpoint_queries.metrics_at([(run.pk, 10)], ["loss", "acc"]) == [{"loss": 3.0}]


def test_values_of_checkpoints_leave_out_nan():
    run = running()
    report(run, "loss", {10: 3.0, 20: float("nan")})
    first, _second = checkpoint(run, step=15), checkpoint(run, step=25)

    [rank] = checkpoint_queries.checkpoint_values([run.pk], "loss", lowest_first=True, limit=5)

    assert (rank.checkpoint_id, rank.value, rank.step) == (first.pk, 3.0, 10)


# --- evaluations -----------------------------------------------------------------------------


def test_evaluation_belongs_to_the_newest_checkpoint_up_to_its_step():
    run = running()
    evaluate(run, 5, bleu=1.0)
    for step in (10, 20):
        checkpoint(run, step=step)
    evaluate(run, 10, bleu=2.0)
    evaluate(run, 19, bleu=3.0, rouge=0.5)
    evaluate(run, 30, bleu=4.0)

    found = checkpoint_queries.results_of([(run.pk, 10, "a"), (run.pk, 20, "b")])

    assert found == [{"bleu": 3.0, "rouge": 0.5}, {"bleu": 4.0}]


def test_ranking_has_each_checkpoint_once_with_its_newest_result():
    project = ProjectFactory()
    run, other = running(project=project), running(project=project)
    first, second = checkpoint(run, step=10), checkpoint(other, step=10)
    evaluate(run, 10, bleu=40.0)
    evaluate(run, 12, bleu=20.0)
    evaluate(other, 10, bleu=30.0)

    assert ranked(project, "bleu") == [(second.pk, 30.0), (first.pk, 20.0)]
    assert ranked(project, "bleu", lowest_first=True) == [(first.pk, 20.0), (second.pk, 30.0)]
    assert ranked(project, "bleu", limit=1) == [(second.pk, 30.0)]


def test_result_from_before_the_first_checkpoint_ranks_nothing():
    project = ProjectFactory()
    run = running(project=project)
    evaluate(run, 5, bleu=40.0)
    checkpoint(run, step=10)

    assert ranked(project, "bleu") == []


@pytest.mark.parametrize("fields", [{"is_hidden": True}, {"deleted_at": "2026-01-01T00:00:00Z"}])
def test_runs_that_are_not_listed_are_not_ranked(fields):
    project = ProjectFactory()
    run = running(project=project)
    checkpoint(run, step=10)
    evaluate(run, 10, bleu=40.0)
    report(run, "loss", {10: 3.0})
    type(run).objects.filter(pk=run.pk).update(**fields)

    assert ranked(project, "bleu") == []
    assert checkpoint_queries.best_values(project.pk, "loss", lowest_first=True) == []


def test_keys_of_results_are_those_of_the_project_each_once():
    project = ProjectFactory()
    for _number in range(2):
        evaluate(running(project=project), 1, rouge=0.5, bleu=30.0)
    evaluate(running(), 1, elsewhere=1.0)

    assert checkpoint_queries.result_keys(project.pk, limit=10) == ["bleu", "rouge"]
    assert checkpoint_queries.result_keys(project.pk, limit=1) == ["bleu"]
