"""The Slurm to try of docker-compose.yml, as its services start it: make test-slurm.

TEST_SLURM_ROOT: a directory with another system to test, such as debootstrap makes, with Debian's
munge, slurm-client, slurmctld, slurmd and iproute2.
"""

import os
import re
import time

import pytest

from tests.compose.containers import Containers, missing
from tests.waiting import wait_until

NODES = ["slurm-node1", "slurm-node2"]
CONTROLLER = "slurm-controller"
WORKER = "worker-slurm"

pytestmark = [
    pytest.mark.skipif(not os.environ.get("TEST_SLURM"), reason="run by make test-slurm"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    containers = Containers(
        tmp_path_factory.mktemp("compose"), lower=os.environ.get("TEST_SLURM_ROOT", "/")
    )
    try:
        idle = ["examples/slurm/start.sh", "sleep", "infinity"]  # instead of TrainHub's worker
        containers.start(*NODES, CONTROLLER, WORKER, commands={WORKER: idle})
        yield containers
    finally:
        containers.stop()


def states(project):
    answer = project.run(WORKER, "sinfo", "--noheader", "--Node", "--format=%N %T", check=False)
    return dict(line.split() for line in answer.stdout.splitlines())


def wait_until_idle(project):
    wait_until(
        lambda: states(project) == dict.fromkeys(NODES, "idle"),
        every=0.2,
        or_say="".join(project.log(name) for name in (*NODES, CONTROLLER)),
    )


def started_at(project, name):
    shown = project.run(WORKER, "scontrol", "--oneliner", "show", "node", name).stdout
    return re.search(r"SlurmdStartTime=(\S+)", shown)[1]


def output_of_job_on_both_nodes(project, command):
    project.run(
        WORKER,
        *("sbatch", "--wait", "--nodes=2", "--ntasks-per-node=1", "--chdir=/data"),
        *("--output=/data/output", f"--wrap=srun sh -c '{command}'"),
    )
    return (project.volume("data") / "output").read_text()


def test_job_runs_on_both_nodes_as_the_user_of_the_image(project):
    wait_until_idle(project)

    output = output_of_job_on_both_nodes(project, "echo $(hostname) $(id -un)")

    assert sorted(output.splitlines()) == [f"{name} trainhub" for name in NODES]


def test_job_is_cancelled(project):
    wait_until_idle(project)
    job = project.run(WORKER, "sbatch", "--parsable", "--wrap=sleep 600", "--output=/dev/null")

    project.run(WORKER, "scancel", job.stdout.strip())

    shown = ["squeue", "--noheader", "--states=all", f"--jobs={job.stdout.strip()}", "--format=%T"]
    wait_until(lambda: project.run(WORKER, *shown).stdout.strip() == "CANCELLED")


def test_containers_have_one_key_that_only_their_user_reads(project):
    wait_until_idle(project)
    socket = "--socket=/tmp/munge/socket"
    credential = project.run(NODES[0], "munge", "--no-input", socket).stdout

    answer = project.run(
        WORKER, "sh", "-c", f'echo "$1" | unmunge {socket}', "sh", credential, check=False
    )

    assert "Success" in answer.stdout
    keys = [path for path in project.volume("slurm").iterdir() if "key" in path.name]
    assert [(path.name, path.stat().st_mode & 0o777) for path in keys] == [("munge.key", 0o600)]


def test_container_starts_again_after_it_was_killed(project):
    """Its files are still there: MUNGE's socket, too."""
    wait_until_idle(project)
    project.run(WORKER, "sh", "-c", "kill -9 $(cat /tmp/munge/pid)")

    answer = project.run(
        WORKER, "examples/slurm/start.sh", "munge", "--no-input", "--socket=/tmp/munge/socket"
    )

    assert answer.stdout.startswith("MUNGE:")


@pytest.mark.parametrize("names", [NODES[:1], NODES])
def test_nodes_that_come_back_at_other_addresses_are_used(project, names):
    wait_until_idle(project)
    before = {name: started_at(project, name) for name in names}
    for name in names:
        project.kill(name)

    project.start(*reversed(names))

    # Until they register again, the controller takes them for idle at their old addresses.
    wait_until(lambda: all(started_at(project, name) != before[name] for name in names), every=0.2)
    wait_until_idle(project)
    output = output_of_job_on_both_nodes(project, "hostname")
    assert sorted(output.splitlines()) == NODES


def test_queue_outlives_a_controller_that_was_killed(project):
    wait_until_idle(project)
    before = time.time()
    job = project.run(WORKER, "sbatch", "--parsable", "--hold", "--wrap=true").stdout.strip()
    saved = project.volume("slurm") / "state" / "job_state"
    wait_until(lambda: saved.exists() and saved.stat().st_mtime > before)
    project.kill(CONTROLLER)

    project.start(CONTROLLER)

    shown = ["squeue", "--noheader", f"--jobs={job}", "--format=%i"]
    wait_until(lambda: project.run(WORKER, *shown, check=False).stdout.strip() == job)
    project.run(WORKER, "scancel", job)
