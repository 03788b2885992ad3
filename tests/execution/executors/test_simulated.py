"""The simulated executor: the contract, and the data that its trainings store."""

import json
import math

import pytest
from django.utils.translation import override
from tensorboardX.proto.event_pb2 import Event

from artifacts.kinds import ArtifactType
from artifacts.models import Artifact
from execution.executors.simulated import SimulatedExecutor
from logs import reading
from logs.search import LogFilter
from runs.executors import WorkState
from runs.models import Recipe
from tests.execution.executors.contract import ExecutorContract, fresh, poll, poll_until, steps_of
from tests.factories import running

pytestmark = pytest.mark.django_db


class TestContract(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return SimulatedExecutor(steps_per_poll=7)

    @pytest.fixture
    def another_executor(self):
        return SimulatedExecutor(steps_per_poll=7)

    @pytest.fixture
    def recipe(self):
        return Recipe.objects.get(name="simulated")


def finished(executor=None, **hyperparameters):
    """A run whose work has finished."""
    executor = executor or SimulatedExecutor(steps_per_poll=50)
    run = running(hyperparameters=hyperparameters)
    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)
    return fresh(run)


def values_of(run, key="train_loss"):
    series = run.series.get(key=key)
    return list(series.points.order_by("step").values_list("step", "value"))


def read(run, type):
    with run.artifacts.get(type=type).open() as file:
        return file.read()


@pytest.mark.parametrize("steps_per_poll", [1, 7, 1000])
def test_curve_does_not_depend_on_the_number_of_polls(steps_per_poll):
    whole = finished(max_steps=30, seed=3)

    other = finished(SimulatedExecutor(steps_per_poll=steps_per_poll), max_steps=30, seed=3)

    assert values_of(other) == values_of(whole)
    assert other.log_count == whole.log_count


def test_checkpoints_are_saved_every_save_steps_and_at_the_end():
    run = finished(max_steps=50, save_steps=20)

    steps = run.artifacts.checkpoints().order_by("step").values_list("step", flat=True)

    assert list(steps) == [20, 40, 50]


def test_evaluation_artifact_is_the_latest():
    run = finished(max_steps=50, eval_steps=20)

    evaluation = json.loads(read(run, ArtifactType.EVALUATION))

    assert run.artifacts.get(type=ArtifactType.EVALUATION).step == evaluation["step"] == 50
    assert evaluation["eval_rouge_l"] == run.metrics["eval_rouge_l"]
    assert steps_of(run, "eval_loss") == [20, 40, 50]


def test_log_reads_like_the_contracts_example():
    run = finished(max_steps=20, learning_rate=2e-5)

    messages = [line.message for line in reading.tail(run, 100)]

    assert "开始训练" in messages[0]
    assert any(message.startswith("第 10 步 - loss=") and " lr=" in message for message in messages)
    assert messages[-1] == "训练完成，共 20 步"


def test_log_is_read_in_the_readers_language_and_found_in_english():
    run = finished(max_steps=20)

    with override("en"):
        [line] = reading.tail(run, 100, LogFilter(q="step 10 - loss="))

    assert line.message.startswith("step 10 - loss=")
    assert line.message.isprintable()


def test_event_file_holds_every_point_for_tensorboard():
    run = finished(max_steps=20)

    scalars = {}
    for event in events_in(read(run, ArtifactType.EVENT)):
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value

    assert set(scalars) == set(run.series.values_list("key", flat=True))
    assert scalars["train_loss"] == pytest.approx(dict(values_of(run)), rel=1e-6)


def events_in(content):
    """https://www.tensorflow.org/tutorials/load_data/tfrecord: length, CRC, bytes, CRC."""
    events = []
    while content:
        length = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[12 + length + 4 :]
    return events


def test_configuration_file_has_the_requested_configuration():
    run = finished(max_steps=3, seed=9)

    configuration = json.loads(read(run, ArtifactType.CONFIG))

    assert configuration["hyperparameters"] == {"max_steps": 3, "seed": 9}
    assert configuration["run_id"] == run.pk
    assert configuration["dataset"] == "中文科技论文语料"


def diverging():
    return running(hyperparameters={"max_steps": 1000, "learning_rate": 1.0, "save_steps": 10})


def test_diverging_training_fails_and_reports_the_step():
    executor, run = SimulatedExecutor(steps_per_poll=50), diverging()
    executor.start(run, run.worker)

    work = poll_until(executor, run, WorkState.FAILED)

    last = fresh(run)
    assert str(last.step) in str(work.reason)
    assert work.exit_code == 1
    assert last.metrics["train_loss"] == "NaN"
    assert last.log_lines.order_by("seq").last().level == "ERROR"
    assert poll(executor, run) == work


@pytest.mark.parametrize("save_steps", [1, 10])
def test_diverged_weights_are_no_checkpoint(save_steps):
    executor, run = SimulatedExecutor(steps_per_poll=50), diverging()
    run.hyperparameters["save_steps"] = save_steps
    run.save()
    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FAILED)

    latest = Artifact.objects.checkpoints_of(run).first()

    finite = [step for step, value in values_of(fresh(run)) if math.isfinite(value)]
    assert latest.step <= max(finite)


def test_resumed_curve_equals_that_of_an_uninterrupted_run():
    hyperparameters = {"max_steps": 60, "save_steps": 20, "seed": 5}
    whole = finished(**hyperparameters)
    source = whole.artifacts.checkpoints().get(step=20)
    executor = SimulatedExecutor(steps_per_poll=13)
    resumed = running(
        project=whole.project,
        hyperparameters=hyperparameters,
        resumed_from_id=source.pk,
        start_step=20,
        step=20,
    )

    executor.start(resumed, resumed.worker)
    poll_until(executor, resumed, WorkState.FINISHED)

    assert values_of(fresh(resumed)) == values_of(whole)[20:]
    for key in ("eval_loss", "eval_rouge_l"):
        assert fresh(resumed).metrics[key] == whole.metrics[key]


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1_700_000_000.0
        monkeypatch.setattr("execution.executors.simulated.time.time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def by_the_clock(clock, settings):
    """A run at ten steps per second."""
    settings.SIMULATION_STEPS_PER_SECOND = 10
    executor, run = SimulatedExecutor(), running(hyperparameters={"max_steps": 1000})
    executor.start(run, run.worker)
    return executor, run


def test_steps_advance_with_the_clock(clock, by_the_clock):
    executor, run = by_the_clock

    for _ in range(10):
        clock.now += 0.15  # one and a half steps: the half steps are not lost
        poll(executor, run)

    assert fresh(run).step == 15


def test_run_does_not_fast_forward_after_a_break(clock, by_the_clock):
    executor, run = by_the_clock
    clock.now += 3600

    poll(executor, run)

    assert fresh(run).step == 20


def test_clock_that_is_set_back_undoes_no_steps(clock, by_the_clock):
    executor, run = by_the_clock
    clock.now += 1
    poll(executor, run)
    clock.now -= 3600

    poll(executor, run)
    clock.now += 1
    poll(executor, run)

    assert fresh(run).step == 20
