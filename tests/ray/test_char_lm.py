"""The recipe char-lm-ray: data-parallel over two nodes of a real Ray."""

import time

import numpy as np
import pytest
from django.core.management import call_command

from artifacts.checkpoints import latest_sound_checkpoint, resume_run
from runs import actions
from runs.models import Recipe
from runs.status import RunStatus
from tests.execution.worker_loops import over
from tests.factories import RunFactory, stored_path
from tests.ray.test_runs import at_step, loop_of, tick_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def run_of(steps):
    return RunFactory(
        recipe=Recipe.objects.get(name="char-lm-ray"),
        nodes=2,
        gpu_count=0,
        gpu_type="",
        dataset="readme",
        hyperparameters={"max_steps": steps, "log_every": 5, "checkpoint_every": 200},
        total_steps=None,
    )


def weights(run):
    artifact = latest_sound_checkpoint(run)
    with np.load(stored_path(artifact)) as file:
        return artifact.step, {name: file[name].tobytes() for name in file.files}


def test_cancelled_training_resumes_byte_exactly():
    call_command("loaddata", "examples/char_lm/recipe-ray.json", verbosity=0)
    loop = loop_of()
    run = run_of(100_000)
    tick_until(loop, at_step(run, 30))
    actions.cancel_run(run, by=None, wait_seconds=0)
    began = time.monotonic()
    tick_until(loop, lambda: over(run))
    seconds = time.monotonic() - began
    print(f"cancel to the kept checkpoint: {seconds:.1f} s")  # noqa: T201
    assert run.status == RunStatus.CANCELLED
    assert seconds <= 5
    kept = latest_sound_checkpoint(run)
    assert kept.step == run.step

    end = kept.step + 50
    resumed = resume_run(run, kept, by=None, hyperparameters={"max_steps": end})
    tick_until(loop, lambda: over(resumed))
    whole = run_of(end)
    tick_until(loop, lambda: over(whole))

    assert (resumed.status, whole.status) == (RunStatus.COMPLETED, RunStatus.COMPLETED)
    assert weights(resumed) == weights(whole)
