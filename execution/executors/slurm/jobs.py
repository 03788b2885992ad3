"""The jobs of this user, as Slurm's controller tells: one question for all of them."""

from __future__ import annotations

import getpass
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.conf import settings

from core.exceptions import DomainError
from execution.executors.slurm.commands import SlurmRefused, slurm

# Job, state, reason, start (estimated while it waits), name, comment.
FORMAT: Final = "%i|%T|%r|%S|%j|%k"
FORGOTTEN_SECONDS: Final = 30.0  # before Slurm is asked again for a job that it does not list

# States that mean a job waits, or works; all others are ends. See JOB STATE CODES in squeue(1).
WAITING: Final = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"}
    | {"SPECIAL_EXIT"}
)
WORKING: Final = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
    | {"POWER_UP_NODE", "UPDATE_DB"}
)


@dataclass(frozen=True)
class Job:
    id: str
    state: str
    reason: str = ""
    starts_at: datetime | None = None
    name: str = ""
    comment: str = ""
    restarts: int = 0  # how often Slurm has put it back into its queue; 0 if that is not known

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def has_ended(self) -> bool:
        return self.state not in WAITING | WORKING


class Jobs:
    """What Slurm says of this user's jobs, at most SLURM_POLL_SECONDS old. Shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listed: dict[str, Job] = {}
        self._asked_at = float("-inf")  # monotonic seconds
        self._problem: DomainError | None = None
        self._looked_up: dict[str, tuple[float, Job | None]] = {}

    def get(self, job_id: str, name: str) -> Job | None:
        """The job; None if Slurm does not know it (any more): a controller that lost its newest
        state gives an id to another job, of another name. Raises SlurmAway, SlurmRefused."""
        job = self._current().get(job_id) or self._look_up(job_id)
        return job if job is not None and job.name == name else None

    def named(self, name: str) -> list[Job]:
        """The jobs of this name that have not ended, asked anew. Raises SlurmAway, SlurmRefused."""
        with self._lock:
            self._ask()
            jobs = self._listed.values()
            return [job for job in jobs if job.name == name and not job.has_ended]

    def ask_again(self) -> None:
        """Let the next question be asked anew: something has been changed."""
        with self._lock:
            self._asked_at = float("-inf")

    def was_asked_since(self, moment: float) -> bool:
        """Whether what Slurm said is newer than that, in monotonic seconds."""
        with self._lock:
            return self._asked_at > moment

    def _current(self) -> dict[str, Job]:
        with self._lock:
            if time.monotonic() - self._asked_at > settings.SLURM_POLL_SECONDS:
                try:
                    self._ask()
                except DomainError as problem:
                    self._problem = problem
                    self._asked_at = time.monotonic()
            if self._problem is not None:
                raise self._problem
            return self._listed

    def _ask(self) -> None:
        command = ["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}"]
        self._listed = parse_squeue(slurm([*command, f"--format={FORMAT}"]))
        self._problem = None
        self._asked_at = time.monotonic()

    def _look_up(self, job_id: str) -> Job | None:
        """A job that is not listed."""
        asked_at, job = self._looked_up.get(job_id, (float("-inf"), None))
        if time.monotonic() - asked_at < FORGOTTEN_SECONDS:
            return job
        job = shown(job_id) or accounted(job_id)
        self._looked_up[job_id] = (time.monotonic(), job)
        return job


def shown(job_id: str) -> Job | None:
    """The job as scontrol shows it, with what squeue does not tell; None once it is forgotten.
    Raises SlurmAway."""
    try:
        return parse_scontrol(slurm(["scontrol", "--oneliner", "show", "job", job_id]))
    except SlurmRefused:
        return None


def accounted(job_id: str) -> Job | None:
    """The job by Slurm's accounting; None without it."""
    columns = ["--noheader", "--parsable2", "--allocations", "--format=JobID,State,JobName"]
    try:
        return parse_sacct(slurm(["sacct", *columns, f"--jobs={job_id}"]))
    except DomainError:
        return None


def parse_squeue(text: str) -> dict[str, Job]:
    jobs = {}
    for line in text.splitlines():
        parts = line.split("|", 5)
        if len(parts) == 6:
            job_id, state, reason, start, name, comment = parts
            jobs[job_id] = Job(job_id, state, reason, time_in(start), name, comment)
    return jobs


def parse_scontrol(text: str) -> Job | None:
    """One line of KEY=VALUE; the values of the keys that are read have no spaces, but Reason."""
    found = dict(re.findall(r"(?:^|\s)(JobId|JobState|JobName|Restarts)=(\S*)", text))
    if "JobId" not in found or "JobState" not in found:
        return None
    reason = re.search(r"\sReason=(.*?)\s(?=\w+=)", text)
    return Job(
        found["JobId"],
        found["JobState"],
        "" if reason is None else reason[1],
        name=found.get("JobName", ""),
        restarts=int(found.get("Restarts", "0") or 0),
    )


def parse_sacct(text: str) -> Job | None:
    """A cancelled job's state is "CANCELLED by 1000" there."""
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == 3 and parts[1]:
            return Job(parts[0], parts[1].split()[0], name=parts[2])
    return None


def time_in(text: str) -> datetime | None:
    """A time as Slurm writes it in UTC; None if it is none, such as N/A."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
