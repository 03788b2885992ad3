"""Which checkpoints of a project are best."""

import io
import json

import pytest

from artifacts import storing
from metrics.points import Point
from metrics.recording import record_metrics
from registry import checkpoint_queries, leaderboards
from registry.leaderboards import Measure, differing, measure_named, measures, places, ranking
from tests.factories import ProjectFactory, checkpoint, running

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return ProjectFactory()


def trained(project, values, **fields):
    """A run with a checkpoint at each step of ``values``, where eval_loss has this value."""
    run = running(project=project, **fields)
    record_metrics(run, [Point("eval_loss", step, value, 0) for step, value in values.items()])
    return [checkpoint(run, step=step) for step in values]


def test_checkpoints_are_ranked_by_their_own_values_not_their_runs_best(project):
    worst, best = trained(project, {10: 5.0, 20: 1.0})
    [middle] = trained(project, {10: 2.0})

    ranks = ranking(project, Measure("eval_loss", is_metric=True), lowest_first=True)

    assert [rank.checkpoint_id for rank in ranks] == [best.pk, middle.pk, worst.pk]


def test_highest_first_turns_the_order_around(project):
    [low], [high] = trained(project, {10: 1.0}), trained(project, {10: 2.0})

    ranks = ranking(project, Measure("eval_loss", is_metric=True), lowest_first=False)

    assert [rank.checkpoint_id for rank in ranks] == [high.pk, low.pk]


def test_ranking_is_the_same_however_few_runs_are_read_at_a_time(project, monkeypatch):
    # The best value of the first run was between its checkpoints: it promises more than it has.
    promising = running(project=project)
    points = [Point("eval_loss", step, value, 0) for step, value in ((1, 9.0), (2, 0.1), (3, 8.0))]
    record_metrics(promising, points)
    checkpoint(promising, step=3)
    for value in (4.0, 2.0, 3.0, 1.0):
        trained(project, {10: value})
    monkeypatch.setattr(leaderboards, "PLACES", 3)
    monkeypatch.setattr(leaderboards, "RUNS_PER_QUERY", 1)
    monkeypatch.setattr(leaderboards, "FIRST_BOUNDS", 2)

    ranks = ranking(project, Measure("eval_loss", is_metric=True), lowest_first=True)

    assert [rank.value for rank in ranks] == [1.0, 2.0, 3.0]


class Recorder:
    """Which runs' checkpoints are read."""

    def __init__(self):
        self.asked = []

    def __call__(self, run_ids, *_key, **_order):
        self.asked.append(run_ids)
        return []


def test_runs_without_checkpoints_are_not_looked_at(project, monkeypatch):
    [saved] = trained(project, {10: 9.0})
    for value in range(4):
        trained_run = running(project=project)
        record_metrics(trained_run, [Point("eval_loss", 1, float(value), 0)])
    monkeypatch.setattr(leaderboards, "RUNS_PER_QUERY", 1)
    monkeypatch.setattr(checkpoint_queries, "checkpoint_values", values_of_runs := Recorder())

    ranking(project, Measure("eval_loss", is_metric=True), lowest_first=True)

    assert values_of_runs.asked == [[saved.run_id]]


@pytest.mark.parametrize("is_metric", [True, False])
def test_key_that_cannot_exist_ranks_nothing(project, is_metric):
    trained(project, {10: 1.0})

    assert ranking(project, Measure("a\0b", is_metric=is_metric), lowest_first=True) == []


def test_places_are_numbered_and_tell_what_differs(project):
    trained(project, {10: 1.0}, hyperparameters={"lr": 0.1, "seed": 7})
    trained(project, {10: 2.0}, hyperparameters={"seed": 7, "warmup": 100})
    ranks = ranking(project, Measure("eval_loss", is_metric=True), lowest_first=True)

    names, found = places(ranks, first=11)

    assert names == ["lr", "warmup"]
    assert [(place.number, place.values) for place in found] == [
        (11, [0.1, None]),
        (12, [None, 100]),
    ]


def test_checkpoint_that_is_gone_meanwhile_has_no_place(project):
    [gone], [kept] = trained(project, {10: 1.0}), trained(project, {10: 2.0})
    ranks = ranking(project, Measure("eval_loss", is_metric=True), lowest_first=True)
    gone.delete()

    _names, found = places(ranks)

    assert [(place.number, place.checkpoint) for place in found] == [(1, kept)]


def test_measures_are_results_then_evaluation_metrics_then_others(project):
    run = running(project=project)
    keys = ("a_loss", "system/cpu", "eval_loss")
    record_metrics(run, [Point(key, 1, 1.0, 0) for key in keys])
    storing.store_evaluation(run, io.BytesIO(json.dumps({"step": 1, "bleu": 3}).encode()), step=1)

    names = [measure.name for measure in measures(project)]

    assert names == ["bleu", "metric:eval_loss", "metric:a_loss"]
    assert [measure_named(name) for name in names] == measures(project)


def test_what_differs_is_what_not_all_have_alike():
    assert differing([]) == []
    assert differing([{"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3, "d": 4}]) == ["b", "d"]
