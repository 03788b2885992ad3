"""Trainings of real frameworks, cancelled, resumed, killed and failing: the losses of what
continues are those of a training that nothing has disturbed."""

from __future__ import annotations

import signal

import pytest

from artifacts.models import Artifact
from runs.models import EventKind, FailureKind
from runs.status import RunStatus
from tests.frameworks.hub import Hub, Training
from tests.frameworks.recipes import FRAMEWORKS, Framework

pytestmark = pytest.mark.django_db(serialized_rollback=True)

MAX_STEPS = 24
SLOW = {"pause_seconds": 0.4}


def each(*frameworks: Framework):
    return pytest.mark.parametrize(
        "framework",
        [
            pytest.param(
                item,
                id=item.name,
                marks=[
                    pytest.mark.xdist_group(item.name),
                    pytest.mark.skipif(not item.is_here, reason=f"{item.needs} is missing"),
                ],
            )
            for item in frameworks
        ],
    )


def sound_steps(training: Training) -> list[int | None]:
    return sorted({item.step or 0 for item in training.checkpoints() if not item.damage})


def kept_at_cancel(training: Training) -> Artifact:
    return training.run.artifacts.kept_at_cancel().get()


@each(*FRAMEWORKS)
def test_undisturbed_training_reports_every_step_and_its_checkpoints(
    hub: Hub, framework: Framework
):
    training = hub.undisturbed(framework)

    assert training.run.status == RunStatus.COMPLETED, training.report()
    first = framework.first_step
    assert [step for step, _loss in training.losses()] == list(range(first, first + MAX_STEPS))
    assert sound_steps(training)[-2:] == [18, 24]
    assert [item.damage for item in training.checkpoints()] == [""] * len(training.checkpoints())


@each(*FRAMEWORKS)
def test_cancelled_training_saves_and_resumes_where_it_was(hub: Hub, framework: Framework):
    whole = hub.undisturbed(framework).losses()
    cancelled = hub.start(framework, **SLOW)
    cancelled.wait_for_step(8)

    cancelled.cancel()

    kept = kept_at_cancel(cancelled)
    assert cancelled.run.status == RunStatus.CANCELLED, cancelled.report()
    reached = cancelled.run.step
    # Trainer may save within a step, which it then still ends and reports.
    assert kept.step in {reached, reached - 1}
    assert 8 <= kept.step < MAX_STEPS
    resumed = cancelled.resume(kept, pause_seconds=0)
    resumed.wait_for_end()
    assert resumed.run.status == RunStatus.COMPLETED, resumed.report()
    assert cancelled.losses() == whole[:reached]
    assert resumed.losses() == whole[kept.step :]


@each(*FRAMEWORKS)
def test_training_continues_after_a_rank_was_killed(hub: Hub, framework: Framework):
    whole = hub.undisturbed(framework).losses()
    training = hub.start(framework, **SLOW)
    training.wait_for_checkpoint()
    ranks = training.ranks()
    assert len(ranks) == framework.ranks

    ranks[-1].send_signal(signal.SIGKILL)

    training.wait_for_end()
    assert training.run.status == RunStatus.COMPLETED, training.report()
    assert training.run.attempt == 2, training.report()
    reason = str(training.run.events.get(kind=EventKind.RECOVERED).reason)
    assert "SIGKILL" in reason or "Killed" in reason  # as a shell puts it
    assert training.losses() == whole


@each(*[item for item in FRAMEWORKS if item.has_launcher])
def test_training_continues_after_its_launcher_was_killed(hub: Hub, framework: Framework):
    whole = hub.undisturbed(framework).losses()
    training = hub.start(framework, **SLOW)
    training.wait_for_checkpoint()
    before = training.processes()

    training.leader().send_signal(signal.SIGKILL)

    training.wait_for_end()
    assert training.run.status == RunStatus.COMPLETED, training.report()
    assert training.run.attempt == 2, training.report()
    assert training.losses() == whole
    assert [process for process in before if process.is_running()] == []


@each(*FRAMEWORKS)
def test_failing_training_says_why(hub: Hub, framework: Framework):
    training = hub.start(framework, fail_after=10)

    training.wait_for_end()

    assert training.run.status == RunStatus.FAILED, training.report()
    assert "ValueError: the learning rate is too high" in str(training.run.status_reason)
    assert training.run.failure_kind == FailureKind.EXIT_CODE
    assert training.run.attempt == 1, training.report()
