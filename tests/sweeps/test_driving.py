"""How workers advance sweeps: Optuna's trials are runs."""

import optuna
import pytest

from runs import actions
from runs.code import CodeRequest
from runs.models import Run, RunCode, RunEvent, StopKind
from runs.models.event import EventKind
from runs.status import RunStatus
from sweeps import driving
from sweeps.actions import cancel_sweep, continue_sweep, pause_sweep
from sweeps.models import SweepStatus, SweepTrial, TrialState
from sweeps.spaces import grid_of
from sweeps.studies import distributions_of, pruner_of, sampler_of
from tests.code_bundles.bundles import bundle
from tests.factories import RecipeFactory
from tests.sweeps.searches import (
    METRIC,
    PLANE,
    end,
    parabola,
    pass_over,
    report,
    sweep_of,
    trials,
    worked_off,
)

pytestmark = pytest.mark.django_db
STEPS = {"hyperparameters": {"max_steps": 90}}
ASHA = {"pruning": "asha", "min_steps": 10, "reduction_factor": 3}


def in_memory(sweep):
    """An Optuna study of its own like the sweep's."""
    return optuna.create_study(study_name=sweep.pk, direction=sweep.goal, pruner=pruner_of(sweep))


def ask(study, sweep, number):
    study.sampler = sampler_of(sweep, number)
    return study.ask(distributions_of(sweep))


# --- trials are runs -------------------------------------------------------------------------


def test_trials_are_runs_with_the_suggested_and_the_fixed_hyperparameters():
    sweep = sweep_of(max_parallel=3, priority=5, **STEPS)

    pass_over(sweep)

    found = trials(sweep)
    assert [trial.run.name for trial in found] == ["search-000", "search-001", "search-002"]
    for trial in found:
        assert trial.run.hyperparameters["x"] == trial.params["x"]
        assert trial.run.hyperparameters["max_steps"] == 90
        assert (trial.run.status, trial.run.priority) == (RunStatus.QUEUED, 5)
    assert len({trial.params["x"] for trial in found}) == 3


def test_ended_run_makes_room_for_the_next_trial():
    sweep = sweep_of(max_parallel=1, max_trials=2)
    pass_over(sweep)
    pass_over(sweep)
    [first] = trials(sweep)

    end(first.run, value=0.5)
    pass_over(sweep)

    first, second = trials(sweep)
    assert (first.state, first.value) == (TrialState.COMPLETE, 0.5)
    assert (second.state, sweep.status) == (TrialState.RUNNING, SweepStatus.RUNNING)


def test_sweep_is_over_with_its_last_trial():
    sweep = sweep_of(max_parallel=2, max_trials=2)
    pass_over(sweep)
    for value, trial in enumerate(trials(sweep)):
        end(trial.run, value=value + 1.0)

    pass_over(sweep)

    assert (sweep.status, sweep.best_trial.number) == (SweepStatus.COMPLETED, 0)
    assert sweep.finished_at is not None


@pytest.mark.parametrize(
    ("goal", "value_of", "value"),
    [("minimize", "last", 2), ("minimize", "best", 1), ("maximize", "best", 3)],
)
def test_value_of_a_trial_is_the_last_or_the_best_one(goal, value_of, value):
    sweep = sweep_of(goal=goal, value_of=value_of, max_trials=1)
    pass_over(sweep)
    [trial] = trials(sweep)
    for step, reported in enumerate([3, 1, 2]):
        report(trial.run, step, reported)

    end(trial.run)
    pass_over(sweep)

    assert trials(sweep)[0].value == value


@pytest.mark.parametrize("value", [None, float("nan")])
def test_run_without_a_number_is_a_failed_trial(value):
    sweep = sweep_of(max_trials=1)
    pass_over(sweep)

    end(trials(sweep)[0].run, value=value)
    pass_over(sweep)

    [trial] = trials(sweep)
    assert (trial.state, trial.value) == (TrialState.FAILED, None)
    assert sweep.best_trial is None


def test_infinite_value_is_kept():
    sweep = sweep_of(max_trials=1, **ASHA)
    pass_over(sweep)

    end(trials(sweep)[0].run, value=float("inf"))
    pass_over(sweep)

    [trial] = trials(sweep)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, float("inf"))
    assert trial.intermediate == [[100, "Infinity"]]


def test_deleted_run_leaves_a_failed_trial_with_its_number():
    sweep = sweep_of(max_parallel=1, max_trials=2)
    pass_over(sweep)
    trials(sweep)[0].run.delete()

    pass_over(sweep)

    first, second = trials(sweep)
    assert (first.state, first.run) == (TrialState.FAILED, None)
    assert second.run.name == "search-001"


def test_large_sweep_begins_in_several_passes():
    sweep = sweep_of(max_parallel=25, max_trials=25)

    pass_over(sweep)
    assert len(trials(sweep)) == driving.TRIALS_PER_PASS
    pass_over(sweep)
    pass_over(sweep)

    assert len(trials(sweep)) == 25


# --- Optuna ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_suggestions_are_those_of_optuna_in_memory(method):
    space = PLANE | {
        "n": {"type": "int", "low": 1, "high": 64, "log": True},
        "kind": {"type": "categorical", "choices": ["a", 2, None]},
        "d": {"type": "float", "low": 0, "high": 1, "step": 0.25},
    }
    sweep = sweep_of(space, method=method, max_parallel=1, max_trials=16)
    study = in_memory(sweep)

    for number in range(16):
        pass_over(sweep)
        trial = trials(sweep)[number]
        other = ask(study, sweep, number)
        assert trial.params == other.params
        value = parabola(trial.params)
        study.tell(other, value)
        end(trial.run, value=value)


def test_decisions_of_asha_are_those_of_optuna_in_memory():
    sweep = sweep_of(method="tpe", max_parallel=4, max_trials=24, **ASHA)
    study, others, pruned = in_memory(sweep), {}, set()

    def pass_over_both():
        pass_over(sweep)
        for trial in trials(sweep)[len(others) :]:
            others[trial.number] = ask(study, sweep, trial.number)
            assert others[trial.number].params == trial.params

    def advance_in_memory(other, step, value):
        other.report(value, step)
        if step > 90:
            study.tell(other, value)
        elif other.should_prune():
            pruned.add(other.number)
            study.tell(other, state=optuna.trial.TrialState.PRUNED)

    pass_over_both()
    while not sweep.is_over:
        for trial in sweep.trials.filter(state=TrialState.RUNNING).select_related("run"):
            value = parabola(trial.params)
            advance_in_memory(others[trial.number], trial.next_step, value)
            report(trial.run, trial.next_step, value)
            if trial.next_step > 90:
                end(trial.run)
            pass_over_both()

    assert {one.number for one in trials(sweep) if one.state == TrialState.PRUNED} == pruned
    assert 6 < len(pruned) < 24
    assert sweep.best_trial.number == study.best_trial.number


def test_grid_tries_each_point_once():
    space = {
        "x": {"type": "float", "low": 0, "high": 1, "count": 3},
        "kind": {"type": "categorical", "choices": ["a", None, True]},
    }
    sweep = sweep_of(space, method="grid", max_parallel=4, **STEPS)

    worked_off(sweep, lambda params, step: params["x"])

    grid = grid_of(sweep.search_space)
    points = {(x, kind) for x in grid["x"] for kind in grid["kind"]}
    found = trials(sweep)
    assert sweep.max_trials == len(found) == 9
    assert {(trial.params["x"], trial.params["kind"]) for trial in found} == points


def test_tpe_finds_more_than_random_on_a_parabola():
    sweep = sweep_of(PLANE, method="tpe", max_trials=40, hyperparameters={"max_steps": 10})
    worked_off(sweep, parabola)

    sweep.method = "random"
    best = []
    for seed in range(9):
        sweep.seed, study = seed, in_memory(sweep)
        best.append(min(parabola(ask(study, sweep, number).params) for number in range(40)))
    assert sweep.best_trial.value < sorted(best)[4] / 2


# --- pruning ---------------------------------------------------------------------------------


def test_bad_runs_are_cancelled_early_and_good_ones_complete():
    sweep = sweep_of(max_trials=20, max_parallel=4, **ASHA, **STEPS)

    worked_off(sweep, lambda params, step: parabola(params) + 1 / step)

    found = trials(sweep)
    pruned = [trial for trial in found if trial.state == TrialState.PRUNED]
    best = min(found, key=lambda trial: parabola(trial.params))
    assert (sweep.best_trial, best.state) == (best, TrialState.COMPLETE)
    assert best.run.step == 90
    assert len(pruned) >= 8
    assert {trial.run.status for trial in pruned} == {RunStatus.CANCELLED}
    assert all(trial.run.step < 90 for trial in pruned)
    assert all(trial.run.artifacts.exists() for trial in pruned)  # its checkpoint is kept


def test_history_of_a_pruned_run_says_so():
    sweep = sweep_of(max_parallel=4, max_trials=4, **ASHA)
    pass_over(sweep)
    for trial in trials(sweep):
        report(trial.run, 10, float(trial.number))

    pass_over(sweep)

    worst = trials(sweep)[3]
    assert worst.state == TrialState.PRUNED
    assert worst.run.status == RunStatus.CANCELLED
    event = RunEvent.objects.get(run=worst.run, kind=EventKind.STOP_REQUESTED)
    assert event.reason.params == {"sweep": sweep.pk, "step": 10}


def test_value_at_a_rung_is_the_first_at_or_beyond_it():
    sweep = sweep_of(max_trials=1, **ASHA)
    pass_over(sweep)
    [trial] = trials(sweep)

    for step, value in [(4, 9.0), (12, 3.0), (13, 1.0), (29, 1.0), (31, 2.0), (40, 1.0)]:
        report(trial.run, step, value)
    pass_over(sweep)

    [trial] = trials(sweep)
    assert trial.intermediate == [[12, 3.0], [31, 2.0]]
    assert trial.next_step == 90


def test_nan_at_a_rung_is_pruned():
    sweep = sweep_of(max_trials=1, **ASHA)
    pass_over(sweep)

    report(trials(sweep)[0].run, 10, float("nan"))
    pass_over(sweep)

    [trial] = trials(sweep)
    assert (trial.state, trial.value) == (TrialState.PRUNED, None)


def test_running_run_is_asked_to_stop_until_it_has():
    sweep = sweep_of(max_trials=1, **ASHA)
    pass_over(sweep)
    [trial] = trials(sweep)
    report(trial.run, 10, float("nan"))

    driving.advance(sweep.pk)
    assert SweepTrial.objects.get().is_stopping  # a worker that dies here leaves that to others
    pass_over(sweep)

    [trial] = trials(sweep)
    assert (trial.is_stopping, trial.run.stop_kind) == (False, StopKind.CANCEL)


# --- faults ----------------------------------------------------------------------------------


def test_worker_that_dies_between_a_suggestion_and_its_run_leaves_neither(monkeypatch):
    sweep = sweep_of(max_parallel=3)
    created = []

    def die(*args, **kwargs):
        if created:
            raise KeyboardInterrupt
        created.append(1)
        return actions.create_run(*args, **kwargs)

    monkeypatch.setattr(driving, "create_run", die)
    with pytest.raises(KeyboardInterrupt):
        driving.advance(sweep.pk)
    assert not Run.objects.exists()
    assert not trials(sweep)

    monkeypatch.undo()
    pass_over(sweep)
    assert [trial.run.name for trial in trials(sweep)] == ["search-000", "search-001", "search-002"]
    assert Run.objects.count() == 3


def test_archived_project_pauses_its_sweep_alone():
    sweep, other = sweep_of(), sweep_of()
    sweep.project.set_status("已归档")

    pass_over(sweep)

    assert sweep.status == SweepStatus.PAUSED
    assert "archived" in str(sweep.status_reason) or "归档" in str(sweep.status_reason)
    assert not trials(sweep)
    assert len(trials(other)) == 4


def test_recipe_that_is_turned_off_pauses_the_sweep_until_it_is_continued():
    sweep = sweep_of()
    type(sweep.recipe).objects.update(enabled=False)
    pass_over(sweep)
    assert sweep.status_reason.params == {"name": "simulated"}

    type(sweep.recipe).objects.update(enabled=True)
    continue_sweep(sweep)
    pass_over(sweep)

    assert (sweep.status, sweep.status_reason) == (SweepStatus.RUNNING, "")
    assert len(trials(sweep)) == 4


def test_unexpected_error_is_told_on_the_sweep(monkeypatch):
    sweep, other = sweep_of(name="a"), sweep_of(name="b")
    create_run = actions.create_run

    def fail(project, **fields):
        if fields["name"].startswith("a"):
            raise ZeroDivisionError("nothing to divide by")
        return create_run(project, **fields)

    monkeypatch.setattr(driving, "create_run", fail)
    pass_over(sweep)

    assert (sweep.status, str(sweep.status_reason)) == (
        SweepStatus.PAUSED, "ZeroDivisionError: nothing to divide by"
    )  # fmt: skip
    assert len(trials(other)) == 4


def test_failures_in_a_row_pause_the_sweep():
    sweep = sweep_of(max_parallel=driving.MAX_FAILURES, max_trials=50)
    pass_over(sweep)
    for trial in trials(sweep):
        end(trial.run, RunStatus.FAILED)

    pass_over(sweep)
    assert sweep.status == SweepStatus.PAUSED
    assert sweep.status_reason.params["n"] == driving.MAX_FAILURES

    continue_sweep(sweep)
    pass_over(sweep)
    assert sweep.status == SweepStatus.RUNNING
    assert len(trials(sweep)) == 2 * driving.MAX_FAILURES


def test_runs_that_somebody_cancels_are_no_failures_in_a_row():
    sweep = sweep_of(max_parallel=driving.MAX_FAILURES, max_trials=50)
    pass_over(sweep)
    for trial in trials(sweep):
        end(trial.run, RunStatus.CANCELLED)

    pass_over(sweep)

    assert sweep.status == SweepStatus.RUNNING
    assert trials(sweep)[0].state == TrialState.FAILED


# --- pause, continue, cancel -----------------------------------------------------------------


def test_paused_sweep_begins_no_trial_and_still_counts_its_runs():
    sweep = sweep_of(max_parallel=2, max_trials=4)
    pass_over(sweep)
    pause_sweep(sweep)
    for trial in trials(sweep):
        end(trial.run, value=1.0)

    pass_over(sweep)
    assert [trial.state for trial in trials(sweep)] == [TrialState.COMPLETE] * 2

    continue_sweep(sweep)
    pass_over(sweep)
    assert len(trials(sweep)) == 4


def test_cancelled_sweep_stops_its_runs():
    sweep = sweep_of(max_parallel=2)
    pass_over(sweep)

    cancel_sweep(sweep, by=None)
    pass_over(sweep)
    pass_over(sweep)

    assert sweep.status == SweepStatus.CANCELLED
    assert [(trial.state, trial.run.status) for trial in trials(sweep)] == [
        (TrialState.FAILED, RunStatus.CANCELLED)
    ] * 2


def test_nothing_is_done_for_sweeps_that_wait_for_their_runs(django_assert_num_queries):
    sweep = sweep_of(max_parallel=2, **ASHA)
    pass_over(sweep)
    report(trials(sweep)[0].run, 5, 1.0)

    with django_assert_num_queries(2):
        pass_over_nothing()

    assert METRIC in Run.objects.get(pk=trials(sweep)[0].run_id).metrics


def pass_over_nothing():
    driving.SweepDriver().work()


def test_runs_of_a_sweep_bring_its_code():
    recipe = RecipeFactory(code="required", code_from="members", command=["{code}/train.sh"])
    stored = bundle({"train.sh": "true"})
    sweep = sweep_of(recipe=recipe, code=CodeRequest(sha256=stored.pk))

    driving.advance(sweep.pk)

    codes = RunCode.objects.filter(run__sweep_trial__sweep=sweep)
    assert {code.bundle_id for code in codes} == {stored.pk}
