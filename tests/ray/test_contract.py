"""The Ray executor on a real Ray: the contract of all executors."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from execution.executors.ray.executor import RayExecutor
from runs.executors import WorkState
from tests.execution.executors.contract import ExecutorContract, fresh, poll
from tests.factories import RecipeFactory
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

STEPPER = Path(__file__).parent.parent / "execution" / "executors" / "stepper.py"


class TestContract(ExecutorContract):
    LONG: ClassVar[dict[str, Any]] = {"max_steps": 100_000, "pause_seconds": 0.01}

    @pytest.fixture
    def another_executor(self):
        return RayExecutor()

    @pytest.fixture
    def recipe(self):
        return RecipeFactory(executor="ray", command=["{python}", str(STEPPER)])

    def start(self, executor, run):
        """Start it, and wait until Ray has."""
        run = fresh(run)
        executor.start(run, run.worker)
        wait_until(lambda: poll(executor, run).state is not WorkState.WAITING)
