"""How Slurm has ended a job, as the reason of a run; and refusals that a retry would meet again."""

from __future__ import annotations

import re
from typing import Final

from core.messages import Message
from execution.executors.attempt import Cause
from execution.executors.slurm.jobs import Job
from execution.executors.told_endings import TIME_LIMIT
from runs.models import FailureKind

NODE_LOST: Final = Cause(
    FailureKind.NODE_FAILED,
    Message("A node of its job has failed, or its launcher there has disappeared."),
    is_interruption=True,
)
REQUEUED: Final = Cause(
    FailureKind.PREEMPTED,
    Message("Slurm has put its job back into the queue."),
    is_interruption=True,
)
_CAUSES: Final = {
    "TIMEOUT": TIME_LIMIT,
    "NODE_FAIL": NODE_LOST,
    "BOOT_FAIL": Cause(
        FailureKind.NODE_FAILED, Message("A node of its job could not be started."), True
    ),
    "PREEMPTED": Cause(
        FailureKind.PREEMPTED, Message("Slurm has preempted its job for another one."), True
    ),
    "REQUEUED": REQUEUED,
    "CANCELLED": Cause(
        FailureKind.CLUSTER_CANCEL, Message("Somebody has cancelled its job in Slurm (scancel).")
    ),
    "REVOKED": Cause(
        FailureKind.CLUSTER_CANCEL, Message("Somebody has cancelled its job in Slurm (scancel).")
    ),
    "DEADLINE": Cause(
        FailureKind.CLUSTER_CANCEL, Message("Slurm has ended its job at its deadline.")
    ),
    "OUT_OF_MEMORY": Cause(
        FailureKind.OUT_OF_MEMORY, Message("Its job has used more memory than Slurm gives it.")
    ),
}


def cause_of(job: Job | None, *, has_begun: bool, log: str) -> Cause:
    """Why a job is over though its launchers have not said how. ``job``: None if Slurm does not
    know it any more. ``log``: the last line that the job has printed."""
    if job is None:
        reason = Message("Slurm does not know its job any more, and nothing tells how it ended.")
        return Cause(FailureKind.KILLED, reason)
    known = _CAUSES.get(job.state)
    if known is not None:
        return known
    if job.restarts and has_begun:
        return REQUEUED
    if has_begun:
        return NODE_LOST
    return Cause(
        FailureKind.CANNOT_START,
        Message(
            "Its job has ended (%(state)s) before its launcher began: %(why)s",
            state=job.state,
            why=log or "–",
        ),
    )


def cause_known(job: Job | None) -> Cause | None:
    """Why a job is over whose launchers have said how it ended, if that is Slurm's doing."""
    return None if job is None else _CAUSES.get(job.state)


# What sbatch says of a job that it would refuse again.
_FOR_GOOD: Final = re.compile(
    r"Invalid partition|Invalid account|Invalid qos|Invalid wckey|Invalid reservation"
    r"|Invalid generic resource|Invalid feature|Invalid node name|Invalid job constraint"
    r"|Requested node configuration is not available|Requested time limit is invalid"
    r"|Node count specification invalid|More processors requested than permitted"
    r"|Memory specification can not be satisfied|Memory required by task is not available"
    r"|Requested partition configuration not available|group not permitted"
    r"|Access/permission denied|unrecognized option|Invalid --|Unable to allocate resources: Inv"
    r"|Too many nodes|Requested GRES option unsupported|User's group not permitted",
    re.IGNORECASE,
)


def is_for_good(text: str) -> bool:
    """Whether sbatch, which said ``text``, would refuse the job again."""
    return bool(_FOR_GOOD.search(text))
