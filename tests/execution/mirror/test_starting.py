"""What an attempt starts with is on its node as the worker has prepared it."""

import os
from pathlib import Path

import pytest

from artifacts.storage import open_range
from execution.executors.attempt import Attempt
from execution.launcher import remote
from execution.launcher.hub import Hub
from execution.mirror.starting import put_start
from execution.models import MirroredAttempt
from tests.factories import running

pytestmark = pytest.mark.django_db


class StoredStart(Hub):
    """Answers as the server does."""

    def start(self):
        row = MirroredAttempt.objects.get()
        return {"launch": row.whole_launch, "size": row.start_bytes, "sha256": row.start_sha256}

    def start_bytes(self, first, end):
        with open_range(MirroredAttempt.objects.get().start_key, first, end) as file:
            return file.read(end - first)


@pytest.fixture
def prepared():
    """The directory of a run whose worker has unpacked its code there."""
    run = running()
    attempt = Attempt.of(run)
    code = attempt.directory / "code"
    (code / "tools").mkdir(parents=True)
    (code / "tools" / "prepare.sh").write_text("#!/bin/sh")
    (code / "tools" / "prepare.sh").chmod(0o755)
    (code / "train.py").write_text("print()")
    (code / "train.py").chmod(0o644)
    (code / "latest.py").symlink_to("train.py")
    (code / "bin").symlink_to("tools")
    launch = {"nodes": 1, "command": ["{attempt}/code/train.py"], "environment": {}}
    put_start(run, run.worker, attempt, launch)
    return attempt.directory


def test_variables_of_an_attempt_are_stored_encrypted():
    run = running()
    attempt = Attempt.of(run)
    attempt.directory.mkdir(parents=True)
    launch = {"command": ["x"], "environment": {"HF_TOKEN": "hf_of_the_team"}}

    put_start(run, run.worker, attempt, launch)

    row = MirroredAttempt.objects.values().get()
    assert "hf_of_the_team" not in str(row)
    assert MirroredAttempt.objects.get().whole_launch == launch


def described(folder: Path):
    """Of all below ``folder``: the target of a link, else whether it can be executed."""
    found = {}
    for current, folders, names in os.walk(folder):
        for path in (Path(current, name) for name in [*folders, *names]):
            name = str(path.relative_to(folder))
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file():
                found[name] = (path.read_bytes(), os.access(path, os.X_OK))
    return found


def test_code_is_on_the_node_with_its_links_and_what_can_be_executed(prepared, tmp_path):
    attempt = tmp_path / "attempt"

    remote._fetch(attempt, StoredStart("http://hub.example", ""), 0)

    assert described(attempt / "code") == described(prepared / "code")
    assert len(described(attempt / "code")) == 4
