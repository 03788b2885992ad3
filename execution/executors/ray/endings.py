"""Why an attempt on Ray has ended, as the reason of a run."""

from __future__ import annotations

from typing import Final

from core.messages import Message
from execution.executors.attempt import Cause
from execution.executors.ray.client import Job
from runs.models import FailureKind

NODE_LOST: Final = Cause(
    FailureKind.NODE_FAILED,
    Message("A node of its Ray job is lost: its launcher there does not report any more."),
    is_interruption=True,
)
LAUNCHER_LOST: Final = Cause(
    FailureKind.KILLED, Message("Its launcher was killed, and what it had started with it.")
)
STOPPED: Final = Cause(
    FailureKind.CLUSTER_CANCEL, Message("Somebody has stopped its job in Ray (ray job stop).")
)
FORGOTTEN: Final = Cause(
    FailureKind.KILLED, Message("Nothing tells any more how its job on Ray has ended.")
)


def never_began(job: Job) -> Cause:
    """A job that is over before a launcher has reported."""
    if job.state == "STOPPED":
        return STOPPED
    return Cause(
        FailureKind.CANNOT_START,
        Message(
            "Its Ray job has ended (%(state)s) before its launcher began: %(why)s",
            state=job.state,
            why=job.message or "–",
        ),
    )
