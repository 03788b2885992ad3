"""Attempts that have written nothing since they were read."""

import pytest

from execution.executors import quiet_attempts
from execution.executors.attempt import Attempt
from execution.executors.quiet_attempts import QuietAttempts, signature_of


@pytest.fixture
def attempt():
    attempt = Attempt("run_a", 1)
    (attempt.directory / "checkpoints" / "step-1").mkdir(parents=True)
    (attempt.directory / "stdout.log").touch()
    return attempt


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(quiet_attempts, "QUIET_SECONDS", 0.0)


def is_read(quiet, attempt):
    return quiet.is_read(attempt, signature_of(attempt))


def test_attempt_that_was_never_read_is_not_quiet(attempt):
    assert not is_read(QuietAttempts(), attempt)


def test_attempt_that_was_read_is_quiet_until_it_writes(attempt):
    quiet = QuietAttempts()
    quiet.note(attempt, signature_of(attempt))
    assert is_read(quiet, attempt)

    (attempt.directory / "checkpoints" / "step-1" / "model.bin").touch()

    assert not is_read(quiet, attempt)


def test_what_was_written_while_it_was_read_is_not_missed(attempt):
    quiet = QuietAttempts()
    signature = signature_of(attempt)
    (attempt.directory / "stdout.log").write_text("late\n")

    quiet.note(attempt, signature)

    assert not is_read(quiet, attempt)


def test_attempt_is_read_again_until_its_files_have_settled(attempt, monkeypatch):
    monkeypatch.setattr(quiet_attempts, "QUIET_SECONDS", 3600.0)
    quiet = QuietAttempts()

    quiet.note(attempt, signature_of(attempt))

    assert not is_read(quiet, attempt)


def test_signs_of_life_and_requests_are_no_news(attempt):
    quiet = QuietAttempts()
    quiet.note(attempt, signature_of(attempt))

    for name in ("heartbeat", "stop-sent", "slurm.json"):
        (attempt.directory / name).touch()

    assert is_read(quiet, attempt)
