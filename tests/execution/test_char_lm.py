"""A real training through TrainHub: the recipe char-lm, executed by a worker's loop.

tests/examples/test_char_lm.py tests the trainer alone; these tests check what TrainHub stores of
it: artifacts, metrics, log.
"""

import io
import json

import numpy as np
import pytest

from artifacts.kinds import ArtifactType
from artifacts.models import Artifact
from execution.executors.attempt import Attempt
from execution.worker import WorkerLoop
from runs.actions import cancel_run, create_run, resume_run
from runs.models import EventKind, Recipe
from runs.status import RunStatus
from tests.examples.test_char_lm import natural_text
from tests.execution.worker_loops import at_step, over
from tests.factories import ProjectFactory
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

# A model that trains in seconds even on a busy machine.
SMALL = {
    "batch_size": 64,
    "context_length": 6,
    "embedding_dim": 8,
    "hidden_dim": 64,
    "log_every": 10,
    "eval_every": 100,
    "checkpoint_every": 50,
    "seed": 1,
}

ENDLESS = 10_000_000


@pytest.fixture
def text(tmp_path, settings):
    settings.DATASET_DIRS = [str(tmp_path)]
    path = tmp_path / "text.txt"
    path.write_text(natural_text(), encoding="utf-8")
    return str(path)


@pytest.fixture
def project():
    return ProjectFactory(default_hyperparameters=SMALL)


@pytest.fixture
def loop():
    loop = WorkerLoop(name="one", slots=4)
    loop.register()
    return loop


@pytest.fixture
def create(project, text):
    recipe = Recipe.objects.get(name="char-lm")

    def create(**hyperparameters):
        return create_run(
            project, by=None, recipe=recipe, dataset=text, hyperparameters=hyperparameters
        )

    return create


def work_until(loop, condition):
    def tick():
        loop.tick()
        return condition()

    return wait_until(tick, seconds=120)


def finish(loop, run):
    work_until(loop, lambda: over(run))
    return run


def read(artifact):
    with artifact.open() as file:
        return file.read()


def weights(artifact):
    with np.load(io.BytesIO(read(artifact))) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def last_checkpoint(run):
    return Artifact.objects.checkpoints_of(run).first()


def steps_of(run, key):
    points = run.series.get(key=key).points
    return list(points.order_by("step").values_list("step", flat=True))


def test_model_learns_what_a_unigram_model_cannot(loop, create):
    run = finish(loop, create(max_steps=400))

    evaluation = json.loads(read(run.artifacts.get(type=ArtifactType.EVALUATION)))
    assert run.status == RunStatus.COMPLETED, run.status_reason
    assert evaluation["step"] == 400
    assert evaluation["eval_loss"] < evaluation["unigram_loss"] - 0.3
    assert run.metrics["eval_loss"] == evaluation["eval_loss"]
    assert (run.progress, run.step, run.exit_code) == (1.0, 400, 0)


def test_everything_the_training_prints_and_writes_is_ingested(loop, create):
    run = finish(loop, create(max_steps=100, progress_bar=True))

    assert steps_of(run, "train_loss") == list(range(10, 101, 10))
    assert steps_of(run, "eval_perplexity") == [100]
    last = run.log_lines.filter(source="stdout").latest("seq")
    assert last.message.endswith("finished at step 100/100")
    bars = run.log_lines.filter(source="stderr").values_list("message", flat=True)
    assert list(bars) == [bar for bar in bars if "100% 100/100" in bar][:1]
    assert {artifact.step for artifact in run.artifacts.checkpoints()} == {50, 100}
    expected = set(ArtifactType.values) - {ArtifactType.FILE}
    assert set(run.artifacts.values_list("type", flat=True)) == expected
    assert all(artifact.problem() is None for artifact in run.artifacts.all())


def test_cancelled_and_resumed_training_gives_the_weights_of_an_uninterrupted_one(loop, create):
    first = create(max_steps=ENDLESS)
    work_until(loop, lambda: at_step(first, 200))
    cancel_run(first, by=None, wait_seconds=0)
    finish(loop, first)
    kept = first.artifacts.kept_at_cancel().get()

    total = {"max_steps": kept.step + 200}
    second = finish(loop, resume_run(first, kept, by=None, hyperparameters=total))
    whole = finish(loop, create(**total))

    assert first.status == RunStatus.CANCELLED
    assert kept.step >= 200
    assert second.status == whole.status == RunStatus.COMPLETED
    assert weights(last_checkpoint(second)) == weights(last_checkpoint(whole))
    assert last_checkpoint(second).sha256 == last_checkpoint(whole).sha256
    both = steps_of(first, "train_loss") + steps_of(second, "train_loss")
    assert both == steps_of(whole, "train_loss")


def test_cancelled_training_leaves_a_checkpoint_that_loads(loop, create):
    run = create(max_steps=ENDLESS)
    work_until(loop, lambda: at_step(run, 30))

    cancel_run(run, by=None, wait_seconds=0)
    finish(loop, run)

    kept = run.artifacts.kept_at_cancel().get()
    assert run.status == RunStatus.CANCELLED
    assert run.exit_code == 143
    assert kept.problem() is None
    assert kept.step >= 30
    assert len(weights(kept)) > 0


def test_killed_training_gives_the_weights_of_an_uninterrupted_one(loop, create):
    whole, killed = create(max_steps=1500), create(max_steps=1500)
    work_until(loop, lambda: at_step(killed, 60))

    process = Attempt.of(killed).process()
    assert process is not None, "it ended before it could be killed"
    process.kill()
    finish(loop, killed)
    finish(loop, whole)

    assert (killed.status, killed.attempt) == (RunStatus.COMPLETED, 2)
    assert killed.events.filter(kind=EventKind.RECOVERED).count() == 1
    assert last_checkpoint(killed).sha256 == last_checkpoint(whole).sha256
    assert steps_of(killed, "train_loss") == steps_of(whole, "train_loss")
    numbers = list(killed.log_lines.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, killed.log_count + 1))


def test_invalid_settings_fail_the_run_with_the_exit_code(loop, create):
    run = finish(loop, create(max_steps=10, context_length=100_000))

    assert (run.status, run.exit_code) == (RunStatus.FAILED, 2)
    assert "2" in str(run.status_reason)
    assert run.log_lines.filter(source="stderr", message__contains="context_length").exists()
