"""The agent of a launcher on a node of its own: what it prepares, and what it clears up."""

import fcntl
import os
import time

import pytest

from execution.launcher import remote
from execution.launcher.hub import Hub, Rejected
from execution.launcher.remote import ABANDONED_SECONDS, LOCK, REJECTED, placed, sweep


@pytest.fixture
def attempt_of(tmp_path):
    """Makes the folder of an attempt whose agent began ``age`` seconds ago."""

    def make(name, age):
        folder = tmp_path / name
        folder.mkdir()
        lock = folder / LOCK
        lock.touch()
        at = time.time() - age
        os.utime(lock, (at, at))
        return folder

    return make


def test_agent_whose_requests_are_rejected_ends_and_says_why(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(remote, "REFUSED_SECONDS", 0.0)
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(remote.signal, "signal", lambda *_handler: None)
    asked = []

    def start(hub):
        asked.append(hub.url)
        raise Rejected("400 The host node.example is not allowed.")

    monkeypatch.setattr(Hub, "start", start)
    url = "http://hub.example/projects/p/runs/r/attempts/1"

    code = remote.run({"TRAINHUB_ATTEMPT_URL": url, "TRAINHUB_NODE_DIR": str(tmp_path)})

    assert code == REJECTED
    assert set(asked) == {url}
    assert "400 The host node.example is not allowed." in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_description_has_the_paths_of_the_node(tmp_path):
    launch = {"command": ["{python}", "{attempt}/code/x.py"], "environment": {"A": "{attempt}/a"}}

    filled = placed(launch, tmp_path)

    assert filled["command"] == [remote.sys.executable, f"{tmp_path}/code/x.py"]
    assert filled["environment"] == {"A": f"{tmp_path}/a"}


def test_what_a_killed_agent_has_left_is_deleted_a_week_later(attempt_of, tmp_path):
    old, young = attempt_of("old", ABANDONED_SECONDS + 10), attempt_of("young", 10)
    own = attempt_of("own", ABANDONED_SECONDS + 10)

    sweep(tmp_path, but=own)

    assert [folder.exists() for folder in (old, young, own)] == [False, True, True]


def test_attempt_whose_agent_lives_is_kept(attempt_of, tmp_path):
    busy = attempt_of("busy", ABANDONED_SECONDS + 10)
    with (busy / LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        sweep(tmp_path, but=tmp_path / "own")

    assert busy.exists()
