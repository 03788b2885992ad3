"""How the errors of Slurm's commands are understood."""

import sys

import pytest

from execution.executors.slurm import commands
from execution.executors.slurm.commands import SlurmAway, SlurmRefused, SlurmUnsure, slurm
from execution.executors.slurm.endings import is_for_good


def saying(text):
    return [sys.executable, "-c", f"import sys; sys.exit({text!r})"]


def test_output_is_returned():
    assert slurm([sys.executable, "-c", "print(input())"], stdin="said") == "said\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            SlurmAway,
        ),
        (
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            SlurmUnsure,
        ),
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            SlurmRefused,
        ),
    ],
)
def test_errors_are_told_apart(text, error):
    with pytest.raises(error) as caught:
        slurm(saying(text))

    assert type(caught.value) is error


def test_command_that_takes_too_long_may_have_done_it(monkeypatch):
    monkeypatch.setattr(commands, "SECONDS", 0.1)

    with pytest.raises(SlurmUnsure):
        slurm([sys.executable, "-c", "import time; time.sleep(60)"])


def test_missing_command_is_slurm_away():
    with pytest.raises(SlurmAway):
        slurm(["/no/such/sbatch"])


def test_defaults_of_a_shell_are_not_used(monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%j")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    script = "import os; print(os.environ.get('SQUEUE_FORMAT'), os.environ.get('SLURM_JOB_ID'))"

    assert slurm([sys.executable, "-c", script]) == "None None\n"


@pytest.mark.parametrize(
    "text",
    [
        "Batch job submission failed: Invalid partition name specified",
        "Batch job submission failed: Invalid account or account/partition combination specified",
        "Batch job submission failed: Invalid qos specification",
        "Batch job submission failed: Requested node configuration is not available",
        "Batch job submission failed: Requested time limit is invalid (missing or exceeds limit)",
        "Batch job submission failed: Invalid generic resource (gres) specification",
    ],
)
def test_refusals_for_good(text):
    assert is_for_good(text)


@pytest.mark.parametrize(
    "text",
    [
        "Batch job submission failed: Job violates accounting/QOS policy (job submit limit)",
        "Batch job submission failed: Required partition not available (inactive or drain)",
        "Batch job submission failed: Slurm temporarily unable to accept job",
    ],
)
def test_refusals_that_pass(text):
    assert not is_for_good(text)
