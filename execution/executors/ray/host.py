"""The job of one attempt on Ray: submitting it, following it, ending it.

The truth is the launchers', which report over HTTP: a head that has forgotten the job does not end
them. Ray is believed about a job that has not begun, and about one whose launchers are silent,
unless they have been for LOST_SECONDS. ``ray.json`` in the attempt's directory says that the job
was submitted, ``ray-end.json`` why the attempt was ended without its launchers' word,
``ray-over.json`` since when Ray has not run the job.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from core.database import current_time
from core.exceptions import DomainError
from core.messages import Message
from execution.executors.attempt import Attempt, Cause, Ending
from execution.executors.attempt_host import AttemptHost, State, Waiting, within
from execution.executors.ray import endings
from execution.executors.ray.client import Job, Jobs, RayRefused
from execution.executors.ray.job import JobDescription, name_of, submission
from execution.executors.ray.web_server import WebServer
from execution.executors.told_endings import (
    TIME_LIMIT,
    Exits,
    decide,
    decided,
    ending_of,
    exits_of,
)
from execution.launcher import files
from execution.mirror.materializing import materialize
from execution.models import MirroredAttempt
from runs.executors import CannotStart

logger = logging.getLogger(__name__)

JOB: Final = "ray.json"
END: Final = "ray-end.json"
OVER: Final = "ray-over.json"  # Ray does not run the job any more
STOPPED_IN_RAY: Final = "ray-stopped"  # somebody has stopped the job there
SILENT_SECONDS: Final = 10.0  # of a launcher whose job Ray does not run any more
REACHABLE_SECONDS: Final = 10.0  # that launchers get to report after the web server was away
# Of a launcher whose job Ray says it runs: Ray says so for ever of jobs that a head which was
# restarted has lost.
LOST_SECONDS: Final = 180.0
UNHEARD_SECONDS: Final = 60.0  # as REACHABLE_SECONDS, for those: a request may hang for 30 s
KILL_SECONDS: Final = 4.0  # for launchers to end what they have started
STOP_SECONDS: Final = 10.0  # for Ray to end a job


class Unheard(DomainError):
    """Launchers are silent, and nothing tells whether they could be heard."""

    status_code = 503

    def __init__(self) -> None:
        super().__init__(
            Message(
                "Its launchers do not report, and %(url)s cannot be reached from this worker: "
                "whether a node is lost is not known.",
                url=settings.PUBLIC_URL,
            )
        )


@dataclass(frozen=True)
class RayHost(AttemptHost):
    attempt: Attempt
    jobs: Jobs
    web: WebServer

    # --- submitting --------------------------------------------------------------------------

    def launch(self) -> None:
        is_submitted = (self.attempt.directory / JOB).exists()
        if is_submitted or self.attempt.was_killed or self.mirrored is None:
            return
        launch = files.read(self.attempt.directory / "launch.json")
        job = JobDescription(**launch["job"])
        token = launch["environment"].get("MLFLOW_TRACKING_TOKEN", "")
        try:
            self.jobs.submit(
                name_of(self.attempt),
                **submission(self.attempt, job, url=launch["url"], token=token),
            )
        except RayRefused as refusal:
            raise CannotStart(refusal.message) from None
        files.write_atomically(self.attempt.directory / JOB, {"submitted_at": time.time()})
        logger.info("attempt %s is job %s", self.attempt.directory, name_of(self.attempt))

    @property
    def mirrored(self) -> MirroredAttempt | None:
        return MirroredAttempt.objects.filter(
            run=self.attempt.run_id, number=self.attempt.number
        ).first()

    # --- following ---------------------------------------------------------------------------

    def exits(self) -> Exits:
        """What the launchers have said of the end, as far as it has arrived."""
        mirrored = self.mirrored
        if mirrored is not None:
            materialize(mirrored, self.attempt)
        return exits_of(self.attempt)

    def state(self) -> State:
        exits = self.exits()
        ending = decided(self.attempt, self.attempt.directory / END, exits)
        if ending is not None:
            return ending
        if len(exits) == self.attempt.node_count:
            return self._told(exits)
        mirrored = self.mirrored
        if mirrored is None:
            return self._decide(endings.FORGOTTEN, exits)
        if not (self.attempt.directory / JOB).exists() and not self.attempt.was_killed:
            return Waiting(Message("It is being submitted to Ray."))
        silent = self._silent_seconds(mirrored)
        if silent is not None and silent > LOST_SECONDS and self.attempt.was_killed:
            return ending_of(self.attempt, exits, None, self.attempt.last_modified())
        job = self.jobs.get(name_of(self.attempt))
        if silent is None:
            return self._before_it_began(job)
        if job is not None and not job.has_ended:
            (self.attempt.directory / OVER).unlink(missing_ok=True)
            if silent <= SILENT_SECONDS:
                return None
            return self._judge(endings.NODE_LOST, exits, silent, is_run=True)
        if self.attempt.was_killed:
            return ending_of(self.attempt, exits, None, self.attempt.last_modified())
        self._note_over()
        is_stopped = job is not None and job.state == "STOPPED"
        if silent <= SILENT_SECONDS:
            if is_stopped:
                self.attempt.request(STOPPED_IN_RAY)
                self.ask()  # it may save
            return None
        cause = endings.STOPPED if is_stopped else endings.NODE_LOST
        return self._judge(cause, exits, silent, is_run=False)

    def _judge(self, cause: Cause, exits: Exits, silent: float, *, is_run: bool) -> Ending | None:
        """Whether launchers that are silent are lost: they may be at work, and unheard. ``is_run``:
        whether Ray says that it runs the job. Raises Unheard."""
        answering = self.web.answers_for()
        if answering is None:
            if silent > LOST_SECONDS:
                raise Unheard
            return None
        if is_run:
            is_lost = silent > LOST_SECONDS and answering >= UNHEARD_SECONDS
        else:
            is_lost = answering >= REACHABLE_SECONDS
        return self._decide(cause, exits) if is_lost else None

    def _note_over(self) -> None:
        if not (self.attempt.directory / OVER).exists():
            files.write_atomically(self.attempt.directory / OVER, {"at": time.time()})

    @property
    def _over_seconds(self) -> float:
        """For how long Ray has not run the job."""
        note = files.read(self.attempt.directory / OVER)
        return 0.0 if note is None else time.time() - float(note["at"])

    @property
    def waiting_seconds(self) -> float:
        """For how long its job has been submitted."""
        note = files.read(self.attempt.directory / JOB)
        return 0.0 if note is None else time.time() - float(note["submitted_at"])

    def _silent_seconds(self, mirrored: MirroredAttempt) -> float | None:
        """For how long the quietest of the launchers that have not ended has not reported; None
        before the first report."""
        ended = set(exits_of(self.attempt))
        nodes = list(mirrored.nodes.all())
        if not nodes:
            return None
        now = current_time()
        silences = [
            (now - node.seen_at).total_seconds() for node in nodes if node.rank not in ended
        ]
        if len(nodes) < self.attempt.node_count:  # one has not begun: it may be fetching its start
            silences.append(min((now - node.seen_at).total_seconds() for node in nodes))
            silences.append(self._over_seconds - LOST_SECONDS)  # nobody starts it any more
        return max(silences, default=0.0)

    def _before_it_began(self, job: Job | None) -> State:
        if self.attempt.was_killed:
            return Ending(None, self.attempt.last_modified(), True)
        if job is not None and not job.has_ended:
            return Waiting(self._reason(job))
        if job is None:  # the head has lost it, and nothing has begun: it is submitted again
            (self.attempt.directory / JOB).unlink(missing_ok=True)
            return Waiting(Message("Ray has forgotten its job: it is being submitted again."))
        return self._decide(endings.never_began(job), {})

    def _reason(self, job: Job) -> Message:
        launch = files.read(self.attempt.directory / "launch.json")
        needs = launch["job"]
        if job.state == "PENDING":
            return Message("Ray prepares its job.")
        return Message(
            "It waits for %(nodes)d nodes of the Ray cluster with %(cpus)d CPUs and %(gpus)d GPUs "
            "each, all at once.",
            nodes=needs["nodes"],
            cpus=needs["cpus_per_node"],
            gpus=needs["gpus_per_node"],
        )

    def _told(self, exits: Exits) -> State:
        """How it ended, as all its launchers have said."""
        if any(note.get("time_limit") for note in exits.values()):
            return ending_of(self.attempt, exits, TIME_LIMIT, None)
        if any(note.get("launcher_lost") for note in exits.values()):
            return ending_of(self.attempt, exits, endings.LAUNCHER_LOST, None)
        if (self.attempt.directory / STOPPED_IN_RAY).exists():
            return ending_of(self.attempt, exits, endings.STOPPED, None)
        return ending_of(self.attempt, exits, None, None)

    def _decide(self, cause: Cause, exits: Exits) -> Ending:
        return decide(self.attempt, self.attempt.directory / END, cause, exits)

    # --- ending ------------------------------------------------------------------------------

    def ask(self) -> None:
        self.attempt.request("stop-sent")
        mirrored = self.mirrored
        if mirrored is None:
            return
        MirroredAttempt.objects.filter(pk=mirrored.pk, stop=False).update(stop=True)
        if not mirrored.nodes.exists():  # nothing to save
            self.kill()

    def kill(self) -> bool:
        """Raises RayAway."""
        self.attempt.request("killed")
        mirrored = self.mirrored
        if mirrored is not None:
            MirroredAttempt.objects.filter(pk=mirrored.pk, kill=False).update(kill=True)
            if mirrored.nodes.exists() and within(KILL_SECONDS, self._is_told):
                return True
        return self._stop_job()

    def _stop_job(self) -> bool:
        job = self.jobs.get_now(name_of(self.attempt))
        if job is None or job.has_ended:
            return True
        self.jobs.stop(job.id)
        return within(STOP_SECONDS, self._job_is_over)

    def _job_is_over(self) -> bool:
        job = self.jobs.get(name_of(self.attempt))
        return job is None or job.has_ended

    def _is_told(self) -> bool:
        return len(self.exits()) == self.attempt.node_count

    def end_leftovers(self) -> None:
        """A job whose launchers have told the end is over by itself in a moment."""
        if (self.attempt.directory / END).exists():
            self.kill()

    @property
    def is_over(self) -> bool:
        """Whether Ray has nothing of it any more, or only says that it runs what has been ended
        long ago. Raises RayAway."""
        return self._was_killed_long_ago or self._job_is_over()

    @property
    def _was_killed_long_ago(self) -> bool:
        try:
            killed_at = (self.attempt.directory / "killed").stat().st_mtime
        except FileNotFoundError:
            return False
        return files.file_time(self.attempt.directory) - killed_at > LOST_SECONDS
