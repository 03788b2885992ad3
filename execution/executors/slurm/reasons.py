"""Why a job waits in Slurm's queue, in plain words: see JOB REASON CODES in squeue(1)."""

from __future__ import annotations

import re
from typing import Final

from core.messages import Message, Text
from execution.executors.slurm.jobs import Job

# Reasons that time alone removes.
WAITS: Final = {
    "None": Message("It has just been submitted to Slurm."),
    "Priority": Message("Jobs of a higher priority are before it in Slurm's queue."),
    "Resources": Message("It is next in its partition: Slurm waits for free nodes or GPUs."),
    "Dependency": Message("It waits for another job in Slurm."),
    "BeginTime": Message("Slurm does not start it before a certain time."),
    "Reservation": Message("It waits for its reservation in Slurm."),
    "ReservationDeleted": Message("Its reservation in Slurm has been deleted."),
    "Licenses": Message("It waits for a licence in Slurm."),
    "Cleaning": Message("Slurm still clears up after an earlier job."),
    "Prolog": Message("Slurm prepares its nodes."),
    "PartitionDown": Message("Its partition in Slurm starts no jobs for now."),
    "PartitionInactive": Message("Its partition in Slurm starts no jobs for now."),
    "NodeDown": Message("A node that it needs is down."),
    "FrontEndDown": Message("A node that it needs is down."),
    "JobArrayTaskLimit": Message("A limit on the number of running jobs is reached."),
}
# Reasons that somebody has to remove.
NEVER: Final = {
    "PartitionNodeLimit": Message("its partition does not give so many nodes to a job"),
    "PartitionTimeLimit": Message("its time limit is above that of its partition"),
    "PartitionConfig": Message("its partition does not take such a job"),
    "BadConstraints": Message("no node has what it asks for"),
    "JobHeldUser": Message("a user holds it back (scontrol hold)"),
    "JobHeldAdmin": Message("an administrator holds it back"),
    "InvalidAccount": Message("its account is not valid"),
    "InvalidQOS": Message("its QoS is not valid"),
    "AccountNotAllowed": Message("its account may not use the partition"),
    "QOSNotAllowed": Message("its QoS may not use the partition"),
    "QOSUsageThreshold": Message("the share of its QoS is used up"),
    "DependencyNeverSatisfied": Message("the job that it waits for has failed"),
    "DeadLine": Message("its deadline has passed"),
    "launch_failed_requeued_held": Message("it could not be launched and is held back"),
    "JobHoldMaxRequeue": Message("it was requeued too often"),
}
_PER_JOB: Final = re.compile(r"(?:QOS|Assoc)\w*(?:PerJob|MaxWallDuration|MinGRES|MinCpu|PerNode)")
_LIMIT: Final = re.compile(r"(?:QOS|Assoc)\w*(?:Max|Grp|Group|Min|Limit)")
_UNAVAILABLE: Final = re.compile(r"ReqNodeNotAvail|Nodes required for job are DOWN")
_MISSING: Final = re.compile(r"UnavailableNodes:(\S+?)\)?$")


def reason_of(job: Job) -> Text:
    """Why a job that has not started waits; says so if it will not start by itself."""
    if job.state == "CONFIGURING":
        return Message("Slurm starts its nodes.")
    word = job.reason.strip("() ")
    known = WAITS.get(word)
    if known is not None:
        return known
    never = NEVER.get(word.replace(" ", "_")) or NEVER.get(word)
    if never is not None:
        return _never(never, word)
    if _UNAVAILABLE.match(word):
        return _never(_unavailable(word), word.split(",")[0])
    if _PER_JOB.match(word):
        return _never(Message("it is above a limit on a single job"), word)
    if _LIMIT.match(word):
        return Message("A limit of its account or QoS in Slurm is reached (%(word)s).", word=word)
    return Message("It waits in Slurm's queue (%(word)s).", word=word or "–")


def _never(why: Message, word: str) -> Message:
    return Message(
        "Slurm will not start it until somebody changes that: %(why)s (%(word)s).",
        why=why,
        word=word,
    )


def _unavailable(word: str) -> Message:
    missing = _MISSING.search(word)
    if missing is None:
        return Message("nodes that it needs are down, drained or reserved")
    return Message("nodes that it needs are not available: %(nodes)s", nodes=missing[1])
