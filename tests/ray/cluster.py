"""A real Ray of two nodes on this machine, in a directory of its own.

Both nodes are raylets of this host. Their GPUs are numbers: Ray counts and assigns them, nobody
opens them. What it starts, it ends by process id.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.up_process import free_port
from tests.waiting import wait_until

GPUS = 2
CPUS = 4
START_SECONDS = 90


def missing():
    """Why there can be no Ray here; "" if there can."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed in this environment: make test-ray has one"
    return ""


class Node:
    """A node: the processes that ``ray start --block`` has started."""

    def __init__(self, cluster, *arguments, name):
        token = cluster.token
        authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
        self.log = cluster.folder / f"{name}.log"
        environment = {
            **{key: text for key, text in os.environ.items() if not key.startswith("RAY_")},
            # As in Ray's images: its Python is the first.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_health_check_period_ms": "1000",
            **authentication,
        }
        ray = str(Path(sys.executable).with_name("ray"))
        options = [f"--num-cpus={CPUS}", f"--num-gpus={GPUS}", "--object-store-memory=100000000"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [ray, "start", "--block", "--disable-usage-stats", *options, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def processes(self):
        try:
            top = psutil.Process(self.process.pid)
            return [*top.children(recursive=True), top]
        except psutil.Error:
            return []

    def kill(self, but=()):
        """kill -9 of all of it, the launchers on it included, as when a machine loses power; but
        not of the processes with these ids."""
        found = [process for process in self.processes() if process.pid not in but]
        for process in found:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
        self.process.wait(timeout=30)
        psutil.wait_procs(found, timeout=30)


class Cluster:
    """``token``: what its nodes, and whoever asks them, must have."""

    def __init__(self, token=""):
        self.token = token
        # Short: the path of a UNIX socket is.
        self.folder = Path(tempfile.mkdtemp(prefix="thr-", dir="/tmp"))
        self.node_dir = self.folder / "nodes"
        self.port = free_port()
        self.dashboard = free_port()
        self.address = f"http://127.0.0.1:{self.dashboard}"
        self.head = self.other = None
        self.known = set()  # the ids of nodes before one is added

    def start(self):
        self.start_head()
        self.start_other()

    def start_head(self):
        self.head = Node(
            self,
            "--head",
            f"--port={self.port}",
            f"--temp-dir={self.folder / 'ray'}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self.dashboard}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}",
            "--node-ip-address=127.0.0.1",
            name="head",
        )
        wait_until(self.takes_jobs, seconds=START_SECONDS)
        wait_until(lambda: self.alive_nodes() - self.known, seconds=START_SECONDS)
        self.known = self.known | self.alive_nodes()

    def start_other(self):
        self.other = Node(
            self,
            f"--address=127.0.0.1:{self.port}",
            f"--dashboard-agent-listen-port={free_port()}",
            "--node-ip-address=127.0.0.1",
            name="other",
        )
        before = self.known
        wait_until(lambda: len(self.alive_nodes() - before) >= 1, seconds=START_SECONDS)
        self.known = self.known | self.alive_nodes()

    def client(self):
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.address, headers=self._headers())

    def _headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else None

    def takes_jobs(self):
        try:
            self.client().list_jobs()
        except Exception:  # whatever a head that is starting says
            return False
        return True

    def alive_nodes(self):
        from ray.util.state.api import StateApiClient
        from ray.util.state.common import ListApiOptions, StateResource

        try:
            client = StateApiClient(self.address, headers=self._headers())
            found = client.list(StateResource.NODES, ListApiOptions(), raise_on_missing_output=True)
            return {item.node_id for item in found if item.state == "ALIVE"}
        except Exception:  # of a dashboard that is starting
            return set()

    def job_states(self):
        return {job.submission_id: job.status.value for job in self.client().list_jobs()}

    def agents(self):
        """Launchers, what mirrors them, and trainings: processes that know the folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TRAINHUB_NODE_DIR") == str(self.node_dir):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end_trainings(self):
        """Kill what earlier tests have left outside Ray."""
        ours = [item for item in self.agents() if _is_training(item)]
        for process in ours:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(ours, timeout=10)

    def kill_alone(self, node):
        """kill -9 of Ray on the node's machine, without what is no part of it."""
        launchers = {process.pid for process in self.agents() if _is_training(process)}
        node.kill(but=launchers)

    def stop(self):
        for node in (self.other, self.head):
            if node is not None:
                node.kill()
        for process in self.agents():
            try:
                process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_training(process):
    """Whether it is a launcher, what mirrors it, or its training: not an actor of Ray."""
    try:
        return "TRAINHUB_NODE_RANK" in process.environ()
    except psutil.Error:
        return False
