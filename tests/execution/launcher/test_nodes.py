"""The launchers of a training on several nodes, here as processes of one machine."""

import json
import os
import subprocess
import sys

import pytest

from execution.launcher import PROGRAM, nodes
from execution.launcher.nodes import NODE_FAILED, Node, NodeRequests
from execution.launcher.requests import ASKED, PEER_FAILED, TIME_LIMIT
from tests.waiting import wait_until

SAVES = (
    "import signal, sys, time\n"
    "def save(*_):\n"
    "    print('saving', flush=True)\n"
    "    sys.exit(143)\n"
    "signal.signal(signal.SIGTERM, save)\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)"
)


@pytest.fixture
def attempt(tmp_path):
    (tmp_path / "node-1").mkdir()
    return tmp_path


@pytest.fixture
def launched(attempt):
    """Starts the launchers of two nodes whose training is a script, which gets its rank."""
    started = []

    def start(script, **environment):
        launch = {
            "command": [sys.executable, "-c", script],
            "environment": {"PATH": os.environ["PATH"], "FROM": "launch"},
            "engine": "slurm",
            "nodes": 2,
            "gpus_per_node": 4,
            "grace_seconds": 5,
        }
        (attempt / "launch.json").write_text(json.dumps(launch))
        for rank in range(2):
            own = {"SLURM_PROCID": str(rank), "PATH": os.environ["PATH"], **environment}
            command = [sys.executable, "-I", str(PROGRAM), str(attempt)]
            started.append(subprocess.Popen(command, env=own))
        return started

    yield start
    (attempt / "killed").touch()
    for process in started:
        process.wait(30)


def ending(attempt, rank):
    return json.loads((nodes.folder_of(attempt, rank) / "exit.json").read_text())


def output(attempt, rank):
    path = nodes.folder_of(attempt, rank) / "stdout.log"
    return path.read_text() if path.exists() else ""


def test_each_node_is_told_its_rank_and_where_all_meet(attempt, launched):
    names = (
        *("TRAINHUB_NODE_RANK", "TRAINHUB_NODES", "TRAINHUB_MASTER_ADDR", "TRAINHUB_MASTER_PORT"),
        *("PET_NODE_RANK", "PET_NNODES", "PET_MASTER_ADDR", "PET_MASTER_PORT"),
        *("PET_NPROC_PER_NODE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"),
    )
    script = f"import os; print([os.environ[name] for name in {names!r}])"

    for process in launched(script):
        process.wait(60)

    meeting = json.loads((attempt / "rendezvous.json").read_text())
    host, port = meeting["host"], str(meeting["port"])
    for rank in range(2):
        told = [str(rank), "2", host, port]
        assert output(attempt, rank) == f"{[*told, *told, '4', host, port, str(rank)]}\n"


def test_what_the_engine_assigns_is_kept_and_the_rest_is_the_recipes(attempt, launched):
    script = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['FROM'])"

    for process in launched(script, CUDA_VISIBLE_DEVICES="2,3", FROM="engine"):
        process.wait(60)

    assert output(attempt, 1) == "2,3 launch\n"


def test_failure_on_one_node_ends_the_others_and_is_the_attempts(attempt, launched):
    script = f"import os\nif os.environ['NODE_RANK'] == '1':\n    raise SystemExit(3)\n{SAVES}"

    for process in launched(script):
        process.wait(60)

    assert json.loads((attempt / NODE_FAILED).read_text()) == {"node": 1, "lost": False}
    assert ending(attempt, 1)["returncode"] == 3
    assert ending(attempt, 0)["peer_failed"]
    assert nodes.exit_code(attempt) == 3


def test_stop_reaches_all_nodes(attempt, launched):
    processes = launched(SAVES)
    wait_until(lambda: all("ready" in output(attempt, rank) for rank in range(2)))

    (attempt / "stop-sent").touch()
    for process in processes:
        process.wait(60)

    for rank in range(2):
        assert ending(attempt, rank)["asked"]
        assert output(attempt, rank).count("saving") == 1
    assert not (attempt / NODE_FAILED).exists()


def test_training_is_asked_to_save_before_its_job_ends(attempt, launched):
    for process in launched(SAVES, TRAINHUB_JOB_TIME_LEFT="0:06"):
        process.wait(60)

    for rank in range(2):
        assert ending(attempt, rank)["time_limit"]
        assert not ending(attempt, rank)["asked"]


def test_training_that_its_engine_terminates_is_not_asked_again(attempt, launched):
    script = SAVES.replace("sys.exit(143)", "time.sleep(1)")
    processes = launched(f"{script}\ntime.sleep(600)")
    wait_until(lambda: all("ready" in output(attempt, rank) for rank in range(2)))

    for process in processes:
        process.terminate()
    (attempt / "stop-sent").touch()
    wait_until(lambda: processes[0].poll() is None and (attempt / "heartbeat").exists())
    (attempt / "killed").touch()
    for process in processes:
        process.wait(60)

    assert ending(attempt, 0)["terminated"]
    assert "saving" not in output(attempt, 0)


def test_node_that_falls_silent_is_noted(attempt, monkeypatch):
    monkeypatch.setattr(nodes, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(nodes, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(nodes, "LOST_SECONDS", 0.05)
    (attempt / "node-1" / "heartbeat").touch()
    requests = NodeRequests(Node(attempt, 0, 2), {}, {})

    def stop():
        requests.look()
        return requests.stop

    assert wait_until(stop) == PEER_FAILED
    assert json.loads((attempt / NODE_FAILED).read_text()) == {"node": 1, "lost": True}


def test_node_that_has_ended_may_be_silent(attempt, monkeypatch):
    monkeypatch.setattr(nodes, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(nodes, "LOST_SECONDS", -1.0)
    (attempt / "node-1" / "heartbeat").touch()
    (attempt / "node-1" / "exit.json").touch()
    requests = NodeRequests(Node(attempt, 0, 2), {}, {})

    requests.look()

    assert not (attempt / NODE_FAILED).exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [("stop-sent", ASKED), ("time-limit", TIME_LIMIT), (NODE_FAILED, PEER_FAILED)],
)
def test_requests_are_files_that_all_nodes_see(attempt, name, why):
    (attempt / name).touch()
    requests = NodeRequests(Node(attempt, 1, 2), {}, {})

    requests.look()

    assert requests.stop == why


def test_deleted_attempt_ends_its_launchers(tmp_path):
    requests = NodeRequests(Node(tmp_path / "gone", 0, 1), {}, {})

    requests.look()

    assert requests.kill


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1-02:03:04", 93_784),
        ("23:59:59", 86_399),
        ("4:30", 270),
        ("0:09", 9),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_durations_as_slurm_writes_them(text, seconds):
    assert nodes.seconds_in(text) == seconds
