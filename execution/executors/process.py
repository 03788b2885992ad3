"""A command on the worker's host.

Each attempt has a launcher that outlives the worker; attempt.py reads the state of the work from
its files and from the operating system. A training that has a user of its own (training_user.py)
works in a folder of the attempt's directory, and reaches nothing else in it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from django.conf import settings

from artifacts.unreferenced_blobs import UnreferencedBlob
from code_bundles import storing as storing_code
from core.exceptions import DomainError
from core.messages import Message
from execution.devices import variables_of
from execution.executors import attempt as attempts
from execution.executors import training_user
from execution.executors.attempt import Attempt
from execution.executors.attempt_host import AttemptHost, LocalHost
from execution.executors.launcher_executor import LauncherExecutor
from execution.executors.training_user import TrainingUser
from runs.executors import CannotStart
from runs.models import Run

logger = logging.getLogger(__name__)


# The default of torchrun's --nproc-per-node, as on the nodes of a cluster: launcher/nodes.py.
PROCESSES_PER_NODE: Final = "PET_NPROC_PER_NODE"


class DeviceHeld(DomainError):
    """A process that cannot be killed yet uses a GPU that the run is to use."""


class ProcessExecutor(LauncherExecutor):
    def host_of(self, attempt: Attempt) -> AttemptHost:
        return LocalHost(attempt)

    def _gpu_variables(self, run: Run) -> dict[str, str]:
        known = run.worker is not None and run.worker.devices is not None
        variables = variables_of(run.devices, known=known)
        if run.devices:
            variables[PROCESSES_PER_NODE] = str(len(run.devices))
        return variables

    def _check_stuck(self, run: Run, stuck: list[Attempt]) -> None:
        for attempt in stuck:
            _refuse_held_devices(run, attempt)

    def _before_launch(self, run: Run, draft: Path) -> None:
        _free_devices(run)

    def _draft(self, attempt: Attempt) -> tuple[Path, TrainingUser | None]:
        draft, _user = super()._draft(attempt)
        if not settings.TRAINING_USER:
            return draft, None
        folder = draft / training_user.FOLDER
        folder.mkdir(mode=0o700)
        try:
            return draft, training_user.claim(folder)
        except (KeyError, PermissionError):
            raise CannotStart(training_user.problem() or str(settings.TRAINING_USER)) from None

    def forget(self, run: Run) -> None:
        attempts.forget(run.pk)

    def tidy(self) -> None:
        UnreferencedBlob.objects.sweep()
        storing_code.sweep()
        super().tidy()


def _free_devices(run: Run) -> None:
    """Kill attempts on this host that still use the run's devices although they are no longer
    theirs: their worker died, and their runs continue elsewhere or wait. Raises DeviceHeld."""
    if not run.devices:
        return
    local_runs = attempts.local_runs()
    local_runs.pop(run.pk, None)  # its own earlier attempts have been ended
    known = Run.objects.only("devices", "attempt", "project").in_bulk(list(local_runs))
    for run_id, local_attempts in local_runs.items():
        other = known.get(run_id)
        if other is None:
            continue  # it belongs to another database that shares this data directory
        for attempt in local_attempts:
            if attempt.engine:
                continue  # on the hosts of a cluster
            current = attempt.number == other.attempt and attempt.devices <= set(other.devices)
            if current or attempt.is_known_to_be_gone or not attempt.devices & set(run.devices):
                continue
            logger.warning("killing attempt %d of run %s for its GPUs", attempt.number, run_id)
            if not attempt.kill():
                is_told = other.project_id == run.project_id
                _refuse_held_devices(run, attempt, is_told=is_told)


def _refuse_held_devices(run: Run, attempt: Attempt, *, is_told: bool = True) -> None:
    """``attempt``: one that cannot be killed yet. ``is_told``: whether readers of ``run`` see its
    run."""
    held = attempt.devices & set(run.devices)
    if held and not is_told:
        raise DeviceHeld(
            Message(
                "A run of another project still holds GPU %(names)s: one of its processes is stuck "
                "in the operating system and cannot be killed yet.",
                names=", ".join(sorted(held)),
            )
        )
    if held:
        raise DeviceHeld(
            Message(
                "Attempt %(number)d of run %(run)s still holds GPU %(names)s: one of its processes "
                "is stuck in the operating system and cannot be killed yet.",
                number=attempt.number,
                run=attempt.run_id,
                names=", ".join(sorted(held)),
            )
        )
