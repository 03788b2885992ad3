"""Which checkpoints rules evaluate."""

import threading

import pytest
from django.db import connections

from artifacts.models import Artifact
from registry.evaluation_rules import EvaluationRule, SeenCheckpoint, create_rule
from registry.rule_driving import RuleDriver, follow
from runs.models import CodePolicy, Recipe, RecipeKind, Run
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, checkpoint

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture
def project():
    return ProjectFactory()


@pytest.fixture
def recipe():
    return RecipeFactory(kind=RecipeKind.EVALUATION)


@pytest.fixture
def run(project):
    return RunFactory(project=project, name="llama-1")


def evaluated():
    """The steps of the checkpoints that runs evaluate."""
    evaluations = Run.objects.filter(kind=RecipeKind.EVALUATION)
    checkpoints = Artifact.objects.filter(pk__in=evaluations.values("resumed_from_id"))
    return sorted(checkpoints.values_list("step", flat=True))


def test_every_second_checkpoint_of_each_run_is_evaluated_once(project, recipe, run):
    rule = create_rule(project, by=None, recipe=recipe, every=2)
    other = RunFactory(project=project)
    for step in (10, 20, 30, 40):
        checkpoint(run, step=step)
    checkpoint(other, step=7)

    counts = [follow(rule.pk), follow(rule.pk)]

    assert counts == [5, 0]
    assert evaluated() == [20, 40]
    assert Run.objects.filter(kind=RecipeKind.EVALUATION).count() == 2


def test_later_checkpoints_are_counted_on(project, recipe, run):
    rule = create_rule(project, by=None, recipe=recipe, every=2)
    checkpoint(run, step=10)
    follow(rule.pk)
    checkpoint(run, step=20)

    follow(rule.pk)

    assert evaluated() == [20]


def test_rule_is_about_what_comes_after_it(project, recipe, run):
    checkpoint(run, step=10)
    rule = create_rule(project, by=None, recipe=recipe, every=1)
    checkpoint(run, step=20)

    follow(rule.pk)

    assert evaluated() == [20]


def test_rule_is_about_the_trainings_that_it_names(project, recipe, run):
    training = RecipeFactory()
    ours = RunFactory(project=project, name="llama-2", recipe=training)
    create_rule(project, by=None, recipe=recipe, every=1, of_recipe=training, run_name="llama")
    for number, it in enumerate([run, ours, RunFactory(project=project, recipe=training)]):
        checkpoint(it, step=number)
    checkpoint(RunFactory(name="llama-2", recipe=training), step=9)

    RuleDriver().work()

    assert evaluated() == [1]


def test_damaged_checkpoint_waits_until_it_is_whole(project, recipe, run):
    rule = create_rule(project, by=None, recipe=recipe, every=1)
    artifact = checkpoint(run, step=10)
    artifact.set_damage("cut off")
    artifact.save()
    counted = follow(rule.pk)
    artifact.set_damage("")
    artifact.save()

    follow(rule.pk)

    assert (counted, evaluated()) == (0, [10])


def test_checkpoints_of_evaluations_are_not_evaluated(project, recipe):
    rule = create_rule(project, by=None, recipe=recipe, every=1)
    checkpoint(RunFactory(project=project, recipe=recipe, kind=RecipeKind.EVALUATION))

    assert follow(rule.pk) == 0


def test_rule_tells_why_it_does_not_work_and_nothing_is_counted(project, recipe, run):
    rule = create_rule(project, by=None, recipe=recipe, every=1)
    checkpoint(run, step=10)
    Recipe.objects.filter(pk=recipe.pk).update(enabled=False)

    RuleDriver().work()
    rule.refresh_from_db()
    problem = str(rule.problem)
    Recipe.objects.filter(pk=recipe.pk).update(enabled=True)
    RuleDriver().work()

    assert recipe.pk in problem
    assert evaluated() == [10]
    assert EvaluationRule.objects.get().problem == ""


def test_checkpoint_that_cannot_be_evaluated_delays_no_other_run(project, run):
    needs_code = RecipeFactory(kind=RecipeKind.EVALUATION, code=CodePolicy.REQUIRED)
    rule = create_rule(project, by=None, recipe=needs_code, every=2)
    checkpoint(run, step=10)
    checkpoint(run, step=20)  # is to be evaluated, and its run has no code
    checkpoint(RunFactory(project=project), step=7)

    RuleDriver().work()

    rule.refresh_from_db()
    assert "needs code" in str(rule.problem)
    assert sorted(SeenCheckpoint.objects.values_list("checkpoint__step", flat=True)) == [7, 10]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_workers_at_the_same_time_evaluate_each_checkpoint_once():
    project, recipe = ProjectFactory(), RecipeFactory(kind=RecipeKind.EVALUATION)
    rule = create_rule(project, by=None, recipe=recipe, every=2)
    run = RunFactory(project=project)
    for step in range(1, 9):
        checkpoint(run, step=step)
    barrier = threading.Barrier(3)

    def work():
        barrier.wait()
        try:
            for _pass in range(8):
                follow(rule.pk)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert evaluated() == [2, 4, 6, 8]
    assert Run.objects.filter(kind=RecipeKind.EVALUATION).count() == 4


def test_counting_a_checkpoint_does_not_keep_it(project, recipe, run):
    rule = create_rule(project, by=None, recipe=recipe, every=2)
    artifact = checkpoint(run, step=10)

    follow(rule.pk)

    assert SeenCheckpoint.objects.get().number == 1
    assert not artifact.is_in_use()
