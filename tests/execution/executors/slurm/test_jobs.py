"""What Slurm's commands print, of several versions."""

from datetime import UTC, datetime

import pytest

from execution.executors.slurm import jobs
from execution.executors.slurm.commands import SlurmAway, SlurmRefused
from execution.executors.slurm.jobs import Job, Jobs, parse_sacct, parse_scontrol, parse_squeue

# Slurm 22.05.8: squeue --noheader --states=all --format='%i|%T|%r|%S|%j|%k'
SQUEUE = """\
4|FAILED|BadConstraints|2026-11-30T06:51:44|wrap|(null)
2|PENDING|Resources|2026-12-01T08:00:00|trainhub-run_a-1|TrainHub run run_a attempt 1
3|PENDING|PartitionConfig|N/A|wrap|a | comment
7|RUNNING|None|2026-11-30T06:51:42|trainhub-run_b-2|TrainHub run run_b attempt 2
8|PENDING|ReqNodeNotAvail, UnavailableNodes:n2|N/A|wrap|(null)
"""
# scontrol --oneliner show job, 22.05.8 and 25.05, whose lines have other keys, too.
SCONTROL_22 = (
    "JobId=2 JobName=trainhub-run_a-1 UserId=root(0) GroupId=root(0) MCS_label=N/A "
    "Priority=4294901758 Nice=0 Account=(null) QOS=(null) JobState=NODE_FAIL "
    "Reason=NodeDown Dependency=(null) Requeue=0 Restarts=1 BatchFlag=1 Reboot=0 ExitCode=0:0 "
    "RunTime=00:00:00 TimeLimit=UNLIMITED TimeMin=N/A SubmitTime=2026-11-30T06:51:43 Power= "
)
SCONTROL_25 = (
    "JobId=122 JobName=trainhub-run_a-1 UserId=ml(1000) GroupId=ml(1000) MCS_label=N/A Priority=1 "
    "Nice=0 Account=(null) QOS=normal JobState=PENDING Reason=ReqNodeNotAvail, "
    "UnavailableNodes:n[1-2] Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 "
    "ExitCode=0:15 RunTime=00:00:08 TimeLimit=UNLIMITED TimeMin=N/A "
    "StepMgrEnabled=Yes LicensesAlloc=(null) OOMKillStep=0"
)


def test_squeue_lists_jobs():
    listed = parse_squeue(SQUEUE)

    assert listed["2"] == Job(
        "2",
        "PENDING",
        "Resources",
        datetime(2026, 12, 1, 8, tzinfo=UTC),
        "trainhub-run_a-1",
        "TrainHub run run_a attempt 1",
    )
    assert (listed["3"].starts_at, listed["3"].comment) == (None, "a | comment")
    assert listed["8"].reason == "ReqNodeNotAvail, UnavailableNodes:n2"


def test_squeue_without_jobs_lists_none():
    assert parse_squeue("") == {}


@pytest.mark.parametrize(
    ("text", "job"),
    [
        (SCONTROL_22, Job("2", "NODE_FAIL", "NodeDown", name="trainhub-run_a-1", restarts=1)),
        (
            SCONTROL_25,
            Job(
                "122",
                "PENDING",
                "ReqNodeNotAvail, UnavailableNodes:n[1-2]",
                name="trainhub-run_a-1",
            ),
        ),
        ("", None),
    ],
    ids=["22.05", "25.05", "nothing"],
)
def test_scontrol_shows_a_job(text, job):
    assert parse_scontrol(text) == job


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("2|COMPLETED|name\n", "COMPLETED"),
        ("2|CANCELLED by 1000|name\n", "CANCELLED"),
        ("", None),
    ],
)
def test_sacct_tells_a_state(text, state):
    job = parse_sacct(text)

    assert (job and job.state) == state


@pytest.mark.parametrize("state", ["PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD"])
def test_states_that_wait(state):
    assert Job("1", state).waits
    assert not Job("1", state).has_ended


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED", "SIGNALING"])
def test_states_that_work(state):
    assert not Job("1", state).waits
    assert not Job("1", state).has_ended


@pytest.mark.parametrize("state", ["TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "LATER"])
def test_all_other_states_are_ends(state):
    assert Job("1", state).has_ended


# --- asking ----------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch, settings):
    """Slurm's answers by command; what was asked."""
    settings.SLURM_POLL_SECONDS = 60
    commands = []
    answers = {"squeue": SQUEUE, "scontrol": SCONTROL_22}

    def slurm(command, *, stdin=""):
        commands.append(command[0])
        answer = answers.get(command[0])
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise SlurmRefused("Invalid job id specified")
        return answer

    monkeypatch.setattr(jobs, "slurm", slurm)
    return answers, commands


def test_all_jobs_are_asked_for_at_once(asked):
    _answers, commands = asked
    known = Jobs()

    names = {"2": "trainhub-run_a-1", "7": "trainhub-run_b-2", "4": "wrap"}
    states = [known.get(job_id, name).state for job_id, name in names.items()]

    assert states == ["PENDING", "RUNNING", "FAILED"]
    assert commands == ["squeue"]


def test_job_that_is_not_listed_is_looked_up_once(asked):
    _answers, commands = asked
    known = Jobs()

    for _time in range(2):
        assert known.get("99", "trainhub-run_a-1").state == "NODE_FAIL"

    assert commands == ["squeue", "scontrol"]


def test_id_that_slurm_has_given_to_another_job_is_not_the_job(asked):
    assert Jobs().get("2", "trainhub-run_z-1") is None


def test_job_that_nothing_knows_is_none(asked):
    answers, commands = asked
    del answers["scontrol"]

    assert Jobs().get("99", "trainhub-run_a-1") is None

    assert commands == ["squeue", "scontrol", "sacct"]


def test_controller_that_is_away_is_asked_no_more_often(asked):
    answers, commands = asked
    answers["squeue"] = SlurmAway("away")
    known = Jobs()

    for _time in range(3):
        with pytest.raises(SlurmAway):
            known.get("2", "trainhub-run_a-1")

    assert commands == ["squeue"]


def test_jobs_of_a_name_are_those_that_have_not_ended(asked):
    known = Jobs()

    assert [job.id for job in known.named("trainhub-run_a-1")] == ["2"]
    assert [job.id for job in known.named("wrap")] == ["3", "8"]
