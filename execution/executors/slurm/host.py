"""The job of one attempt: submitting it, following it, ending it.

``slurm.json`` in the attempt's directory has the job's id, or when it was last submitted without an
answer. ``slurm-end.json`` says why Slurm has ended it, once that is known. How the training itself
has ended is told by its launchers (execution/launcher/nodes.py).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from core.exceptions import DomainError
from core.messages import Message
from execution.executors.attempt import Attempt, Cause, Ending
from execution.executors.attempt_host import AttemptHost, State, Waiting, within
from execution.executors.slurm import endings
from execution.executors.slurm.commands import SlurmAway, SlurmRefused, SlurmUnsure, slurm
from execution.executors.slurm.jobs import Job, Jobs, shown
from execution.executors.slurm.reasons import reason_of
from execution.executors.slurm.script import LOG, JobDescription, name_of, sbatch, script
from execution.executors.told_endings import (
    TIME_LIMIT,
    Exits,
    decide,
    decided,
    ending_of,
    exits_of,
)
from execution.launcher import files
from execution.launcher.nodes import LOST_SECONDS, NODE_FAILED, Silence
from runs.executors import CannotStart

logger = logging.getLogger(__name__)

JOB: Final = "slurm.json"
END: Final = "slurm-end.json"
SUBMIT_SECONDS: Final = 60.0  # until a job whose submission was not answered would be listed
KILL_SECONDS: Final = 4.0  # for launchers to end what they have started
CANCEL_SECONDS: Final = 8.0  # for Slurm to end a job


class NotSubmitted(DomainError):
    """Whether Slurm has taken the job is not known yet."""


class Silences:
    """For how long the launchers of attempts have shown no sign, as far as this process knows, and
    since when it knows that they have begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, Silence] = {}
        self._begun: dict[Path, float] = {}

    def seconds(self, folder: Path) -> float:
        with self._lock:
            silence = self._known.setdefault(folder, Silence(folder))
        return silence.seconds()

    def begun_at(self, folder: Path) -> float:
        """When this was first asked of an attempt that has begun, in monotonic seconds."""
        with self._lock:
            return self._begun.setdefault(folder, time.monotonic())

    def forget(self, folder: Path) -> None:
        """Of the attempt in ``folder``, all its nodes'."""
        with self._lock:
            self._begun.pop(folder, None)
            for known in [known for known in self._known if known.is_relative_to(folder)]:
                del self._known[known]


@dataclass(frozen=True)
class SlurmHost(AttemptHost):
    attempt: Attempt
    jobs: Jobs
    silences: Silences

    # --- submitting --------------------------------------------------------------------------

    def launch(self) -> None:
        if self._job_id is not None or self.attempt.was_killed or self._has_begun:
            return
        asked_at = self._note.get("asked_at")
        if asked_at is not None:
            if self._found_job() is not None:
                return
            if time.time() - asked_at < SUBMIT_SECONDS:
                raise NotSubmitted(
                    Message("Slurm has not answered whether it has taken the job of this run.")
                )
        self._submit()

    def _submit(self) -> None:
        description = JobDescription(**self._launch["job"])
        path = self.attempt.directory / JOB
        files.write_atomically(path, {"asked_at": time.time()})
        try:
            answer = slurm(
                sbatch(self.attempt, description), stdin=script(self.attempt, description)
            )
        except SlurmUnsure:
            raise
        except SlurmAway:
            path.unlink()
            raise
        except SlurmRefused as refusal:
            path.unlink()
            if endings.is_for_good(refusal.text):
                raise CannotStart(refusal.message) from None
            raise
        self._take_note(answer.strip().split(";")[0])

    def _found_job(self) -> Job | None:
        """The job whose submission was not answered, if Slurm has it: its id is noted. Raises
        SlurmAway, SlurmRefused."""
        found = self.jobs.named(name_of(self.attempt))
        if not found:
            return None
        self._take_note(found[0].id)
        return found[0]

    def _take_note(self, job_id: str) -> None:
        files.write_atomically(self.attempt.directory / JOB, {"job": job_id})
        self.jobs.ask_again()
        logger.info("attempt %s is job %s", self.attempt.directory, job_id)

    @property
    def _note(self) -> dict[str, Any]:
        return files.read(self.attempt.directory / JOB) or {}

    @property
    def _job_id(self) -> str | None:
        return self._note.get("job")

    @property
    def _launch(self) -> dict[str, Any]:
        return files.read(self.attempt.directory / "launch.json") or {}

    # --- following ---------------------------------------------------------------------------

    @property
    def _has_begun(self) -> bool:
        return (self.attempt.directory / "launcher.json").exists()

    def _exits(self) -> Exits:
        """What the launchers have said of the end, by the rank of their node."""
        return exits_of(self.attempt)

    def state(self) -> State:
        exits = self._exits()
        ending = decided(self.attempt, self.attempt.directory / END, exits)
        if ending is not None:
            return ending
        if len(exits) == self.attempt.node_count:
            return self._told(exits)
        job_id = self._job_id
        if job_id is not None:
            job = self._job(job_id)
        elif self.attempt.was_killed:
            return ending_of(self.attempt, exits, None, 0.0)
        elif self._has_begun:  # before the worker that submitted it had the answer, and died
            job = self._found_job()
        else:
            return Waiting(Message("It is being submitted to Slurm."))
        exits = self._exits()  # what was written before Slurm said so
        if len(exits) == self.attempt.node_count:
            return self._told(exits)
        return self._state_of(job, exits)

    def _job(self, job_id: str) -> Job | None:
        """The job. One that has begun waits only if Slurm says so after that: until it is asked
        the next time, the job counts as running. Raises SlurmAway, SlurmRefused."""
        begun_at = self.silences.begun_at(self.attempt.directory) if self._has_begun else None
        # Before the answer is read: meanwhile, another thread may get a newer one.
        is_news = begun_at is not None and self.jobs.was_asked_since(begun_at)
        job = self.jobs.get(job_id, name_of(self.attempt))
        if job is None or not job.waits or is_news or not self._has_begun:
            return job
        return replace(job, state="RUNNING")

    def _state_of(self, job: Job | None, exits: Exits) -> State:
        begun = self._has_begun
        if job is not None and job.waits:
            return (
                self._decide(endings.REQUEUED, exits)
                if begun
                else Waiting(reason_of(job), job.starts_at)
            )
        failed = files.read(self.attempt.directory / NODE_FAILED) or {}
        silent = self.silences.seconds(self.attempt.directory) > LOST_SECONDS
        if job is not None and not job.has_ended:
            if job.state == "SUSPENDED":
                self.silences.forget(self.attempt.directory)
                return None
            is_lost = begun and silent and 0 not in exits
            if is_lost or (failed.get("lost") and 0 in exits) or self._is_left_by_a_node(exits):
                return self._decide(endings.NODE_LOST, exits)
            return None
        if job is None and begun and not silent and 0 not in exits:
            return None  # a controller that lost its state does not end its jobs
        if self.attempt.was_killed:
            return ending_of(self.attempt, exits, None, self.attempt.last_modified())
        if failed.get("lost"):
            return self._decide(endings.NODE_LOST, exits)
        if job is not None and begun:
            job = shown(job.id) or job
        cause = endings.cause_of(job, has_begun=begun, log=self._last_line())
        return self._decide(cause, exits)

    def _is_left_by_a_node(self, exits: Exits) -> bool:
        """Whether a launcher has disappeared that rank 0, which has ended, cannot miss any more."""
        if 0 not in exits:
            return False
        left = [rank for rank in range(self.attempt.node_count) if rank not in exits]
        silences = [self.silences.seconds(self.attempt.node_folder(rank)) for rank in left]
        return any(seconds > LOST_SECONDS for seconds in silences)

    def _told(self, exits: Exits) -> State:
        """How it ended, as all its launchers have said; why, if that was Slurm's doing."""
        if any(note.get("time_limit") for note in exits.values()):
            return ending_of(self.attempt, exits, TIME_LIMIT, None)
        by_slurm = any(note.get("terminated") for note in exits.values())
        killed = any(note["returncode"] in {-9, 137} for note in exits.values())
        if self.attempt.was_killed or not (by_slurm or killed) or self._job_id is None:
            return ending_of(self.attempt, exits, None, None)
        job = self._job(self._job_id)
        if job is not None and job.waits:
            return self._decide(endings.REQUEUED, exits)
        if job is not None and not job.has_ended:
            return None  # it says why in a moment
        cause = endings.cause_known(job)
        if cause is None:
            return ending_of(self.attempt, exits, None, None)
        return self._decide(cause, exits)

    def _decide(self, cause: Cause, exits: Exits) -> Ending:
        """Slurm's own word changes once the job is cancelled."""
        return decide(self.attempt, self.attempt.directory / END, cause, exits)

    def _last_line(self) -> str:
        try:
            lines = (self.attempt.directory / LOG).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    # --- ending ------------------------------------------------------------------------------

    def ask(self) -> None:
        self.attempt.request("stop-sent")
        if not self._has_begun:  # nothing to save
            self.kill()

    def kill(self) -> bool:
        self.attempt.request("killed")
        if self._has_begun and within(KILL_SECONDS, self._is_told):
            return True
        jobs = self._live_jobs()
        if not jobs:
            return True
        for job_id in jobs:
            self._cancel(job_id)
        return within(CANCEL_SECONDS, lambda: self._is_told() or not self._live_jobs())

    def _live_jobs(self) -> list[str]:
        """The attempt's jobs that Slurm still has, also one whose submission was not answered."""
        return [job.id for job in self.jobs.named(name_of(self.attempt))]

    def _is_told(self) -> bool:
        return len(self._exits()) == self.attempt.node_count

    def _cancel(self, job_id: str) -> None:
        """SIGKILL to its steps first: Slurm itself would give them KillWait, 30 s."""
        with contextlib.suppress(SlurmRefused):  # no steps, or it has ended
            slurm(["scancel", "--signal=KILL", job_id])
        with contextlib.suppress(SlurmRefused):
            slurm(["scancel", job_id])
        self.jobs.ask_again()

    def end_leftovers(self) -> None:
        is_decided = (self.attempt.directory / END).exists()
        if (self._is_told() and not is_decided) or self.is_over:
            return
        for job_id in self._live_jobs():
            self._cancel(job_id)

    @property
    def is_over(self) -> bool:
        """Whether Slurm has nothing of it any more. Raises SlurmAway, SlurmRefused."""
        job_id = self._job_id
        job = None if job_id is None else self.jobs.get(job_id, name_of(self.attempt))
        return job is None or job.has_ended
