"""Worker loops in the test process, and runs for them."""

import sys
from pathlib import Path

from execution.executors.process import ProcessExecutor
from execution.executors.simulated import SimulatedExecutor
from execution.worker import WorkerLoop
from tests.factories import RecipeFactory, RunFactory
from tests.waiting import wait_until

STEPPER = Path(__file__).parent / "executors" / "stepper.py"
LONG = {"max_steps": 100_000, "pause_seconds": 0.01}


def worker_loop(name="one", *, steps_per_poll=20, simulated=None, **options):
    executors = {
        "simulated": simulated or SimulatedExecutor(steps_per_poll=steps_per_poll),
        "process": ProcessExecutor(),
    }
    return WorkerLoop(name=name, slots=8, executors=executors, tick_seconds=0.01, **options)


def process_run(**fields):
    recipe = fields.pop("recipe", None) or RecipeFactory(command=[sys.executable, str(STEPPER)])
    fields = {"hyperparameters": LONG, "total_steps": 100_000} | fields
    return RunFactory(recipe=recipe, **fields)


def script_run(script, **recipe):
    return process_run(recipe=RecipeFactory(script=script, **recipe), total_steps=None)


def tick_until(loop, condition):
    def tick():
        loop.tick()
        return condition()

    return wait_until(tick)


def over(run):
    run.refresh_from_db()
    return run.is_terminal


def at_step(run, step):
    run.refresh_from_db()
    return run.step >= step


def kinds(run):
    return list(run.events.values_list("kind", flat=True))
