"""Which executor carries out which recipe."""

from runs.executors.base import Executor
from runs.executors.process import ProcessExecutor
from runs.executors.simulated import SimulatedExecutor
from runs.models import ExecutorName, Run

EXECUTORS: dict[str, Executor] = {
    ExecutorName.SIMULATED: SimulatedExecutor(),
    ExecutorName.PROCESS: ProcessExecutor(),
}


def executor_of(run: Run) -> Executor:
    return EXECUTORS[run.recipe.executor]
