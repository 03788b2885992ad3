"""Which executor carries out which recipe."""

from runs.executors.base import Executor
from runs.executors.external import ExternalExecutor
from runs.executors.process import ProcessExecutor
from runs.executors.simulated import SimulatedExecutor
from runs.models import ExecutorName, Run

EXECUTORS: dict[str, Executor] = {
    ExecutorName.SIMULATED: SimulatedExecutor(),
    ExecutorName.PROCESS: ProcessExecutor(),
}
EXTERNAL = ExternalExecutor()


def executor_of(run: Run) -> Executor:
    return EXTERNAL if run.recipe is None else EXECUTORS[run.recipe.executor]
