"""The recipe hf-finetune-ray: Trainer by torchrun on both nodes of a real Ray."""

import sys

import pytest
from django.core.management import call_command

from artifacts.checkpoints import latest_sound_checkpoint, resume_run
from metrics.models import MetricPoint
from runs import actions
from runs.models import Recipe
from runs.status import RunStatus
from tests.execution.worker_loops import over
from tests.factories import RunFactory
from tests.frameworks.recipes import COMMON, ENVIRONMENT
from tests.ray.test_runs import at_step, loop_of, tick_until

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = ENVIRONMENT.parent / "lib" / VERSION / "site-packages"

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.skipif(
        not (PACKAGES / "transformers").exists(), reason="make test-frameworks installs them"
    ),
]

STEPS = 12
SECONDS = 240  # of a training: each rank imports torch and transformers first


@pytest.fixture
def recipe():
    """As it is in its file. The frameworks are beside Ray's own packages, as in an image."""
    call_command("loaddata", "examples/hf_finetune/recipe-ray.json", verbosity=0)
    recipe = Recipe.objects.get(name="hf-finetune-ray")
    common = {name: value for name, value in COMMON.items() if name != "PATH"}
    recipe.environment |= common | {"PYTHONPATH": str(PACKAGES)}
    recipe.save()
    return recipe


def run_of(recipe):
    return RunFactory(
        recipe=recipe,
        nodes=2,
        gpu_count=0,
        gpu_type="",
        dataset="readme",
        hyperparameters={
            "max_steps": STEPS,
            "logging_steps": 1,
            "eval_steps": 6,
            "hidden_size": 128,  # so that there is time to cancel
            "context_length": 256,
        },
        total_steps=None,
    )


def steps_and_losses(run):
    points = MetricPoint.objects.filter(series__run=run, series__key="loss")
    return list(points.order_by("step").values_list("step", "value"))


def test_cancelled_training_goes_on_where_it_was(recipe):
    loop = loop_of()
    whole = run_of(recipe)
    tick_until(loop, lambda: over(whole), seconds=SECONDS)
    run = run_of(recipe)
    tick_until(loop, at_step(run, 3), seconds=SECONDS)
    actions.cancel_run(run, by=None, wait_seconds=0)
    tick_until(loop, lambda: over(run), seconds=SECONDS)
    kept = latest_sound_checkpoint(run)

    resumed = resume_run(run, kept, by=None)
    tick_until(loop, lambda: over(resumed), seconds=SECONDS)

    assert (whole.status, run.status) == (RunStatus.COMPLETED, RunStatus.CANCELLED)
    assert resumed.status == RunStatus.COMPLETED
    assert 3 <= kept.step < STEPS
    assert steps_and_losses(run) + steps_and_losses(resumed) == steps_and_losses(whole)
