"""Why a job waits, and whether it will ever start."""

import pytest
from django.utils.translation import override

from execution.executors.slurm.jobs import Job
from execution.executors.slurm.reasons import reason_of


def said(reason, state="PENDING"):
    with override("en"):
        return str(reason_of(Job("1", state, reason)))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "higher priority"),
        ("Resources", "free nodes"),
        ("None", "just been submitted"),
        ("BeginTime", "certain time"),
        ("QOSGrpCpuLimit", "(QOSGrpCpuLimit)"),
        ("QOSMaxGRESPerUser", "limit of its account"),
        ("AssocGrpGRES", "limit of its account"),
        ("SomethingNew", "(SomethingNew)"),
    ],
)
def test_reasons_that_pass(reason, words):
    assert words in said(reason)
    assert "until somebody" not in said(reason)


@pytest.mark.parametrize(
    "reason",
    [
        *("PartitionNodeLimit", "PartitionTimeLimit", "PartitionConfig", "BadConstraints"),
        *("JobHeldAdmin", "JobHeldUser", "InvalidAccount", "InvalidQOS", "QOSMaxGRESPerJob"),
        *("AssocMaxWallDurationPerJobLimit", "launch failed requeued held"),
        *("ReqNodeNotAvail, UnavailableNodes:n2", "(ReqNodeNotAvail, May be reserved for other)"),
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority",
    ],
)
def test_reasons_that_somebody_has_to_remove(reason):
    assert "until somebody changes that" in said(reason)


def test_nodes_that_are_missing_are_named():
    assert "not available: n[2-3]" in said("(ReqNodeNotAvail, UnavailableNodes:n[2-3])")


def test_nodes_that_start_are_said():
    assert said("None", "CONFIGURING") == "Slurm starts its nodes."
