"""A command on the nodes of a Ray cluster, which share no directory with the worker.

What an attempt starts with is in the artifacts' storage, and what it writes comes back over HTTP:
see execution/mirror. One launcher runs on each node. See docs/clusters.md and docs/adr/0032-ray.md.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Final

from django.conf import settings

from accounts.open_mode import is_open
from core.exceptions import DomainError
from core.messages import Message
from execution.executors import attempt as attempts
from execution.executors.attempt import Attempt, Ending
from execution.executors.launcher_executor import LauncherExecutor, ended_by_cluster, told_of
from execution.executors.notes import notes_of
from execution.executors.process_inputs import command_of
from execution.executors.ray.client import Jobs, RayAway, is_installed
from execution.executors.ray.host import RayHost, Unheard
from execution.executors.ray.job import JobDescription, name_of
from execution.executors.ray.pools import nodes_with, pools_in
from execution.executors.ray.web_server import WebServer
from execution.launcher import files
from execution.launcher.ray_driver import bundle_of
from execution.launcher.remote import PLACE, PYTHON
from execution.mirror.dropping import ended_attempts
from execution.mirror.materializing import drop_ingested, materialize, restore
from execution.mirror.problems import tell_problems
from execution.mirror.starting import put_start
from execution.models import MirroredAttempt
from runs.executors import CannotStart, FoundPool, WorkState, WorkStatus
from runs.models import FailureKind, GpuPool, Run, Worker
from runs.status import RunStatus

logger = logging.getLogger(__name__)

REPOSITORY: Final = f"{PLACE}/repository"
UNPLACED_SECONDS: Final = 600.0  # that a job waits before it is asked whether it ever can begin


class RayExecutor(LauncherExecutor):
    engine: ClassVar[str] = "ray"
    has_queue: ClassVar[bool] = True
    inherits_environment: ClassVar[bool] = False

    def __init__(self) -> None:
        self._jobs = Jobs()
        self._web = WebServer()

    def works_here(self) -> bool:
        return bool(settings.RAY_ADDRESS) and is_installed()

    def host_of(self, attempt: Attempt) -> RayHost:
        return RayHost(attempt, self._jobs, self._web)

    # --- start -------------------------------------------------------------------------------

    def start(self, run: Run, worker: Worker) -> None:
        if not is_open() and run.created_by is None:
            raise CannotStart(
                Message("Its launchers need a token of its owner to report, and it has no owner.")
            )
        self._restore_earlier(run)
        super().start(run, worker)

    def _launch(self, run: Run, worker: Worker, attempt: Attempt) -> None:
        launch = files.read(attempt.directory / "launch.json")
        put_start(run, worker, attempt, launch)
        super()._launch(run, worker, attempt)

    def _place(self, attempt: Attempt) -> Path:
        return Path(PLACE)

    def _command(self, run: Run, code: Path | None = None) -> list[str]:
        return command_of(run, code, python=PYTHON, repository=REPOSITORY)

    def _before_launch(self, run: Run, draft: Path) -> None:
        """``{repository}`` has the examples: nodes have no TrainHub."""
        if any(REPOSITORY in part for part in self._command(run)):
            ignored = shutil.ignore_patterns("__pycache__")
            target = draft / "repository"
            shutil.copytree(settings.BASE_DIR / "examples", target / "examples", ignore=ignored)
            for text in settings.BASE_DIR.glob("README*.md"):  # what char-lm reads by default
                shutil.copy(text, target)

    def _told(self, run: Run) -> Mapping[str, Any]:
        url = f"{settings.PUBLIC_URL}/projects/{run.project_id}/runs/{run.pk}"
        return {
            **told_of(run, self.engine, asdict(JobDescription.of(run))),
            "url": f"{url}/attempts/{run.attempt}",
        }

    def pools(self) -> list[FoundPool]:
        return pools_in(self._jobs.nodes())

    # --- the files of a node -----------------------------------------------------------------

    def poll(self, run: Run, worker: Worker) -> WorkStatus:
        attempt = Attempt.of(run)
        mirrored = MirroredAttempt.objects.filter(run=run, number=run.attempt).first()
        if mirrored is not None:
            tell_problems(run, worker, mirrored)
        if not attempt.is_launched:
            if mirrored is not None:
                restore(mirrored, attempt)
        elif not notes_of(run, attempt):
            self._launch(run, worker, attempt)  # its worker may have died before it did
        try:
            work = super().poll(run, worker)
        except (RayAway, Unheard):
            if run.stop_requested_at is None or run.status != RunStatus.RUNNING:
                raise
            return WorkStatus(WorkState.WORKING)  # launchers that are heard are asked to stop
        if work.state is WorkState.WAITING and self._cannot_be_placed(run, attempt):
            job = JobDescription.of(run)
            reason = Message(
                "No %(nodes)d nodes of the Ray cluster have %(cpus)d CPUs and %(gpus)d GPUs each, "
                "and whatever else its recipe asks for.",
                nodes=job.nodes,
                cpus=job.cpus_per_node,
                gpus=job.gpus_per_node,
            )
            kind = FailureKind.CANNOT_START
            return WorkStatus(WorkState.FAILED, reason=reason, failure_kind=kind)
        return work

    def _cannot_be_placed(self, run: Run, attempt: Attempt) -> bool:
        """Whether the run would keep the GPUs of its pool from others for ever: there are enough,
        but no nodes that have as many as it needs on each. Raises RayAway, RayRefused."""
        if self.host_of(attempt).waiting_seconds < UNPLACED_SECONDS:
            return False
        pool = GpuPool.objects.filter(pk=run.pool, is_discovered=True).first()
        if pool is None or pool.capacity < run.gpu_count:  # a node that is away may come back
            return False
        needed = bundle_of(asdict(JobDescription.of(run)))
        return nodes_with(self._jobs.nodes(), needed) < run.nodes

    def _ingest(self, run: Run, worker: Worker, attempt: Attempt, ending: Ending | None) -> bool:
        is_stored = super()._ingest(run, worker, attempt, ending)
        mirrored = MirroredAttempt.objects.filter(run=run, number=attempt.number).first()
        if mirrored is not None:
            current = Run.objects.only("executor_state").get(pk=run.pk)
            drop_ingested(mirrored, notes_of(current, attempt))
        return is_stored

    def _restore_earlier(self, run: Run) -> None:
        """Earlier attempts whose files another host has."""
        for mirrored in MirroredAttempt.objects.filter(run=run, number__lt=run.attempt):
            attempt = Attempt(run.pk, mirrored.number)
            restore(mirrored, attempt)
            materialize(mirrored, attempt)

    def _end_earlier_attempts(self, run: Run, worker: Worker) -> list[Attempt]:
        stuck = super()._end_earlier_attempts(run, worker)
        for mirrored in MirroredAttempt.objects.filter(run=run, number__lt=run.attempt):
            mirrored.forget()
        return stuck

    def abandon(self, run: Run, worker: Worker) -> None:
        self._restore_earlier(run)
        super().abandon(run, worker)

    # --- the end -----------------------------------------------------------------------------

    def _status_at_end(self, run: Run, attempt: Attempt, ending: Ending) -> WorkStatus:
        """A job that somebody has stopped in Ray was asked to save for that."""
        cause = ending.cause
        is_ours = run.stop_requested_at is not None
        if cause is not None and cause.kind == FailureKind.CLUSTER_CANCEL and not is_ours:
            return ended_by_cluster(cause, ending.returncode)
        return super()._status_at_end(run, attempt, ending)

    def forget(self, run: Run) -> None:
        """Delete the files once Ray has nothing of the run any more; until then, ``tidy`` tries
        again."""
        folder = attempts.run_directory(run.pk)
        for attempt in attempts.attempts_in(folder):
            host = self.host_of(attempt)
            try:
                if not host.is_over and not host.kill():
                    return
            except DomainError as problem:
                logger.warning("the files of run %s are kept for now: %s", run.pk, problem)
                return
            attempt.delete()
        shutil.rmtree(folder, ignore_errors=True)
        for mirrored in MirroredAttempt.objects.filter(run=run.pk):
            mirrored.forget()

    def tidy(self) -> None:
        super().tidy()
        local = attempts.local_runs()
        try:
            for mirrored in ended_attempts().exclude(run__in=local):
                self._forget_without_files(mirrored)
        except DomainError as problem:
            logger.warning("attempts of runs that have ended are kept for now: %s", problem)

    def _forget_without_files(self, mirrored: MirroredAttempt) -> None:
        """No host may have files of it: no ``forget`` would come to it. Raises RayAway,
        RayRefused."""
        attempt = Attempt(mirrored.run_id, mirrored.number)
        if self.host_of(attempt).is_over:
            mirrored.forget()
        else:
            self._jobs.stop(name_of(attempt))
