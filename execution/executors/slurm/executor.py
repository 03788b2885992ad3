"""A command on the nodes of a Slurm cluster, by a worker on a login node.

The data directory is on a file system that the worker and all nodes see, as homes are: so attempts
have the same directories as on the worker's own host. One launcher runs on each node. Slurm is
asked for the state of all jobs at once. See docs/clusters.md and docs/adr/0027-slurm.md.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Final

from core.exceptions import DomainError
from execution.executors import attempt as attempts
from execution.executors.attempt import Attempt, Ending
from execution.executors.launcher_executor import LauncherExecutor, told_of
from execution.executors.quiet_attempts import QuietAttempts, signature_of
from execution.executors.slurm.commands import slurm
from execution.executors.slurm.host import Silences, SlurmHost
from execution.executors.slurm.jobs import Jobs
from execution.executors.slurm.pools import pools_in
from execution.executors.slurm.script import JobDescription
from runs.executors import FoundPool
from runs.models import Run, Worker

logger = logging.getLogger(__name__)

COMMANDS: Final = ("sbatch", "squeue", "scontrol", "scancel")


class SlurmExecutor(LauncherExecutor):
    engine: ClassVar[str] = "slurm"
    has_queue: ClassVar[bool] = True
    schedules: ClassVar[bool] = True

    def __init__(self) -> None:
        self._jobs = Jobs()
        self._silences = Silences()
        self._quiet = QuietAttempts()

    def works_here(self) -> bool:
        return all(shutil.which(command) for command in COMMANDS)

    def host_of(self, attempt: Attempt) -> SlurmHost:
        return SlurmHost(attempt, self._jobs, self._silences)

    def _ingest(self, run: Run, worker: Worker, attempt: Attempt, ending: Ending | None) -> bool:
        """Of hundreds of jobs, most have written nothing since the last look at them."""
        if ending is not None:
            self._quiet.forget(attempt)
            return super()._ingest(run, worker, attempt, ending)
        signature = signature_of(attempt)
        if self._quiet.is_read(attempt, signature):
            return True
        is_stored = super()._ingest(run, worker, attempt, ending)
        if is_stored:
            self._quiet.note(attempt, signature)
        return is_stored

    def _told(self, run: Run) -> Mapping[str, Any]:
        return told_of(run, self.engine, asdict(JobDescription.of(run)))

    def pools(self) -> list[FoundPool]:
        return pools_in(slurm(["sinfo", "--noheader", "--format=%R|%G|%D"]))

    def diagnose(self, run: Run, worker: Worker) -> None:
        """Nothing: its processes are on other hosts, where this one cannot look into them."""

    def forget(self, run: Run) -> None:
        """Delete the files once Slurm has nothing of the run any more; until then, ``tidy`` tries
        again: a job still reads its exit code from them."""
        folder = attempts.run_directory(run.pk)
        gone = True
        for attempt in attempts.attempts_in(folder):
            host = self.host_of(attempt)
            try:
                host.end_leftovers()
                is_over = host.is_over
            except DomainError as problem:
                logger.warning("the files of run %s are kept for now: %s", run.pk, problem)
                return
            if is_over:
                self._silences.forget(attempt.directory)
                attempt.delete()
            gone = gone and is_over
        if gone:
            shutil.rmtree(folder, ignore_errors=True)
