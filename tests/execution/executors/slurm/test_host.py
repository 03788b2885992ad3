"""The job of an attempt, with a Slurm whose answers the tests decide."""

import json
import os
import time

import pytest

from execution.executors.attempt import Attempt, Ending
from execution.executors.attempt_host import Waiting
from execution.executors.slurm import host as hosts
from execution.executors.slurm.commands import SlurmAway, SlurmRefused, SlurmUnsure
from execution.executors.slurm.host import NotSubmitted, Silences, SlurmHost
from execution.executors.slurm.jobs import Jobs
from runs.executors import CannotStart
from runs.models import FailureKind
from tests.execution.executors.slurm.imitated import ImitatedSlurm


@pytest.fixture
def slurm(monkeypatch, settings):
    settings.SLURM_POLL_SECONDS = 0.0
    monkeypatch.setattr(hosts, "KILL_SECONDS", 0.1)
    return ImitatedSlurm(monkeypatch)


@pytest.fixture
def host(slurm, tmp_path):
    attempt = Attempt("run_a", 1)
    draft = attempt.directory.with_name("draft")
    draft.mkdir(parents=True)
    job = {
        "nodes": 2,
        "gpus_per_node": 0,
        "gres_type": "",
        "cpus_per_node": None,
        "memory_gb_per_node": None,
        "time_limit_seconds": None,
        "options": {},
    }
    engine = {"engine": "slurm", "nodes": 2, "job": job}
    attempt.create(draft, ["train"], {}, engine=engine)
    return SlurmHost(attempt, Jobs(), Silences())


def begin(host):
    for rank in range(2):
        launcher = host.attempt.node_folder(rank) / "launcher.json"
        launcher.write_text(json.dumps({"pid": 2**30, "since_boot": 0.0}))
        (host.attempt.node_folder(rank) / "heartbeat").touch()


def end(host, rank, returncode=0, **note):
    path = host.attempt.node_folder(rank) / "exit.json"
    path.write_text(json.dumps({"returncode": returncode, "at": time.time(), **note}))


# --- submitting ------------------------------------------------------------------------------


def test_job_is_submitted_once(slurm, host):
    for _time in range(3):
        host.launch()

    assert slurm.commands.count("sbatch") == 1
    assert isinstance(host.state(), Waiting)


def test_job_whose_submission_was_not_answered_is_found_by_its_name(slurm, host):
    slurm.answer_to_sbatch = SlurmUnsure("Socket timed out")
    with pytest.raises(SlurmUnsure):
        host.launch()

    host.launch()

    assert slurm.commands.count("sbatch") == 1
    assert isinstance(host.state(), Waiting)


def test_job_that_began_before_its_submission_was_answered_is_followed(slurm, host):
    slurm.answer_to_sbatch = SlurmUnsure("Socket timed out")
    with pytest.raises(SlurmUnsure):
        host.launch()
    slurm.states["1"] = "RUNNING"
    begin(host)

    host.launch()

    assert host.state() is None
    assert json.loads((host.attempt.directory / "slurm.json").read_text()) == {"job": "1"}


def test_end_of_a_job_that_began_before_its_submission_was_answered_is_noticed(slurm, host):
    slurm.answer_to_sbatch = SlurmUnsure("Socket timed out")
    with pytest.raises(SlurmUnsure):
        host.launch()
    slurm.states["1"] = "RUNNING"
    begin(host)
    host.state()
    slurm.states["1"] = "NODE_FAIL"

    ending = host.state()

    assert ending.cause.kind == FailureKind.NODE_FAILED


def test_job_that_was_not_taken_is_submitted_again_after_a_while(slurm, host, monkeypatch):
    slurm.answer_to_sbatch, slurm.takes = SlurmUnsure("Socket timed out"), False
    with pytest.raises(SlurmUnsure):
        host.launch()
    with pytest.raises(NotSubmitted):
        host.launch()
    monkeypatch.setattr(hosts, "SUBMIT_SECONDS", 0.0)
    slurm.answer_to_sbatch, slurm.takes = None, True

    host.launch()

    assert len(slurm.states) == 1


def test_controller_that_is_away_is_asked_again(slurm, host):
    slurm.is_away = True
    with pytest.raises(SlurmAway):
        host.launch()
    slurm.is_away = False

    host.launch()

    assert slurm.states == {"1": "PENDING"}


def test_job_that_slurm_would_always_refuse_cannot_start(slurm, host):
    slurm.answer_to_sbatch = SlurmRefused("Invalid partition name specified")

    with pytest.raises(CannotStart, match="Invalid partition"):
        host.launch()


def test_job_that_slurm_refuses_for_now_is_tried_again(slurm, host):
    slurm.answer_to_sbatch, slurm.takes = SlurmRefused("job submit limit reached"), False
    with pytest.raises(SlurmRefused):
        host.launch()
    slurm.answer_to_sbatch, slurm.takes = None, True

    host.launch()

    assert slurm.states == {"1": "PENDING"}


def test_killed_attempt_is_not_submitted(slurm, host):
    host.kill()

    host.launch()

    assert "sbatch" not in slurm.commands
    assert isinstance(host.state(), Ending)


# --- following -------------------------------------------------------------------------------


def test_job_works_from_when_slurm_says_so(slurm, host):
    host.launch()
    slurm.states["1"] = "RUNNING"

    assert host.state() is None


def test_end_is_that_of_all_launchers(slurm, host):
    host.launch()
    begin(host)
    slurm.states["1"] = "RUNNING"
    end(host, 0)
    assert host.state() is None

    end(host, 1)

    assert host.state().returncode == 0


def test_end_is_that_of_the_first_node_that_failed(slurm, host):
    host.launch()
    begin(host)
    (host.attempt.directory / "node-failed").write_text('{"node": 1, "lost": false}')
    end(host, 0, -9, peer_failed=True, cut_off=True)
    end(host, 1, 3)
    slurm.states["1"] = "FAILED"

    ending = host.state()

    assert (ending.returncode, ending.node, ending.cut_off) == (3, 1, True)


@pytest.mark.parametrize(
    ("state", "kind", "is_interruption"),
    [
        ("TIMEOUT", FailureKind.TIME_LIMIT, True),
        ("NODE_FAIL", FailureKind.NODE_FAILED, True),
        ("BOOT_FAIL", FailureKind.NODE_FAILED, True),
        ("PREEMPTED", FailureKind.PREEMPTED, True),
        ("CANCELLED", FailureKind.CLUSTER_CANCEL, False),
        ("DEADLINE", FailureKind.CLUSTER_CANCEL, False),
        ("OUT_OF_MEMORY", FailureKind.OUT_OF_MEMORY, False),
        ("FAILED", FailureKind.NODE_FAILED, True),
    ],
)
def test_end_that_no_launcher_tells_is_slurms(slurm, host, state, kind, is_interruption):
    host.launch()
    begin(host)
    slurm.states["1"] = state

    ending = host.state()

    assert ending.returncode is None
    assert (ending.cause.kind, ending.cause.is_interruption) == (kind, is_interruption)
    assert host.state() == ending


@pytest.mark.parametrize(
    ("state", "kind"),
    [("CANCELLED", FailureKind.CLUSTER_CANCEL), ("PREEMPTED", FailureKind.PREEMPTED)],
)
def test_training_that_slurm_has_terminated_ends_for_slurms_reason(slurm, host, state, kind):
    host.launch()
    begin(host)
    slurm.states["1"] = "COMPLETING"
    for rank in range(2):
        end(host, rank, 143, terminated=True)
    assert host.state() is None  # it says why in a moment

    slurm.states["1"] = state

    assert host.state().cause.kind == kind


def test_time_limit_is_told_by_launchers(slurm, host):
    host.launch()
    begin(host)
    for rank in range(2):
        end(host, rank, 143, time_limit=True)

    assert host.state().cause.kind == FailureKind.TIME_LIMIT


@pytest.mark.parametrize("has_saved", [True, False])
def test_job_that_slurm_has_put_back_is_over(slurm, host, has_saved):
    host.launch()
    slurm.states["1"] = "RUNNING"
    begin(host)
    assert host.state() is None
    slurm.states["1"] = "PENDING"
    if has_saved:
        for rank in range(2):
            end(host, rank, 143, terminated=True)

    ending = host.state()
    host.end_leftovers()

    assert ending.cause.kind == FailureKind.PREEMPTED
    assert slurm.states["1"] == "CANCELLED"
    assert host.state() == ending


@pytest.mark.parametrize("has_ended", [True, False])
def test_job_that_began_since_slurm_was_asked_has_not_been_put_back(
    slurm, host, settings, has_ended
):
    settings.SLURM_POLL_SECONDS = 60.0
    host.launch()
    assert isinstance(host.state(), Waiting)

    slurm.states["1"] = "RUNNING"
    begin(host)
    if has_ended:
        for rank in range(2):
            end(host, rank, 143, terminated=True)

    assert host.state() is None  # it runs, or Slurm has not said yet why it was ended


def test_job_that_ends_before_its_launcher_begins_tells_its_last_line(slurm, host):
    host.launch()
    (host.attempt.directory / "job.log").write_text("python: not found\n\n")
    slurm.states["1"] = "FAILED"

    cause = host.state().cause

    assert cause.kind == FailureKind.CANNOT_START
    assert "python: not found" in str(cause.reason)


def test_job_that_slurm_does_not_know_works_while_its_launcher_shows_signs(slurm, host):
    host.launch()
    begin(host)
    slurm.states.clear()

    assert host.state() is None


def test_job_that_slurm_does_not_know_and_that_is_silent_has_died(slurm, host, monkeypatch):
    monkeypatch.setattr(hosts, "LOST_SECONDS", -1.0)
    host.launch()
    begin(host)
    slurm.states.clear()
    host.silences.seconds(host.attempt.directory)

    assert host.state().cause.kind == FailureKind.KILLED


def test_node_that_is_silent_is_lost_before_slurm_notices(slurm, host, monkeypatch):
    monkeypatch.setattr(hosts, "LOST_SECONDS", 0.01)
    host.launch()
    begin(host)
    slurm.states["1"] = "RUNNING"
    host.silences.seconds(host.attempt.directory)
    time.sleep(0.02)

    ending = host.state()
    host.end_leftovers()

    assert ending.cause.kind == FailureKind.NODE_FAILED
    assert slurm.states["1"] == "CANCELLED"


def test_node_that_is_silent_after_rank_0_has_ended_is_lost(slurm, host, monkeypatch):
    monkeypatch.setattr(hosts, "LOST_SECONDS", 0.01)
    host.launch()
    begin(host)
    slurm.states["1"] = "RUNNING"
    end(host, 0, 137)
    assert host.state() is None
    time.sleep(0.02)

    ending = host.state()

    assert ending.cause.kind == FailureKind.NODE_FAILED


def test_suspended_job_is_not_lost(slurm, host, monkeypatch):
    monkeypatch.setattr(hosts, "LOST_SECONDS", -1.0)
    host.launch()
    begin(host)
    slurm.states["1"] = "SUSPENDED"

    assert host.state() is None


def test_nothing_is_decided_while_the_controller_is_away(slurm, host):
    host.launch()
    begin(host)
    slurm.is_away = True

    with pytest.raises(SlurmAway):
        host.state()

    assert not (host.attempt.directory / hosts.END).exists()


# --- ending ----------------------------------------------------------------------------------


def test_job_that_waits_is_cancelled_when_it_is_asked_to_stop(slurm, host):
    host.launch()

    host.ask()

    assert slurm.states["1"] == "CANCELLED"
    assert isinstance(host.state(), Ending)


def test_training_is_asked_by_a_file(slurm, host):
    host.launch()
    begin(host)
    slurm.states["1"] = "RUNNING"

    host.ask()

    assert "stop-sent" in os.listdir(host.attempt.directory)
    assert slurm.states["1"] == "RUNNING"


def test_launchers_that_do_not_answer_are_ended_by_slurm(slurm, host):
    host.launch()
    begin(host)
    slurm.states["1"] = "RUNNING"

    assert host.kill()

    assert slurm.states["1"] == "CANCELLED"
    assert host.state().returncode is None


def test_kill_finds_a_job_whose_submission_was_not_answered(slurm, host):
    slurm.answer_to_sbatch = SlurmUnsure("Socket timed out")
    with pytest.raises(SlurmUnsure):
        host.launch()

    assert host.kill()

    assert slurm.states["1"] == "CANCELLED"
