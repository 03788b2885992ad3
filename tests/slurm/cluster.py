"""A real Slurm of two nodes on this machine, in a directory of its own.

Both nodes are slurmds of this host, with ports of their own. Their GPUs are links to /dev/null:
Slurm counts and assigns them, nobody opens them. What it starts, it ends by process id.
"""

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

from tests.waiting import wait_until

NODES = ("n1", "n2")
GPUS = 4
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged")


def missing():
    """Why there can be no Slurm here; "" if there can."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if lacking:
        return (
            f"Slurm is not installed ({', '.join(lacking)}): on Debian, apt-get install "
            "--no-install-recommends slurm-wlm munge slurm-client"
        )
    if os.geteuid() != 0:
        return "slurmd and munged are started by root here"
    return ""


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports(count):
    sockets = [socket.socket() for _number in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


class Cluster:
    def __init__(self, folder: Path, *, cpus: int = 16):
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self.cpus = cpus
        self._processes: dict[str, subprocess.Popen] = {}
        self._munged: subprocess.Popen | None = None

    # --- the daemons -------------------------------------------------------------------------

    def start(self):
        self._start_munge()
        self._configure()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        wait_until(self.is_idle, seconds=60)

    def stop(self):
        self.run("scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}", check=False)
        self.run("scancel", f"--user={getpass.getuser()}", check=False)
        for node in NODES:
            self.kill_node(node)
        self.stop_controller()
        if self._munged is not None:
            self._end(self._munged)

    def _start_munge(self):
        if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
            return
        account = pwd.getpwnam("munge")
        Path("/run/munge").mkdir(exist_ok=True)
        for place in ("/run/munge", "/var/log/munge", "/var/lib/munge", "/etc/munge"):
            os.chown(place, account.pw_uid, account.pw_gid)
        if not Path("/etc/munge/munge.key").exists():
            subprocess.run(["mungekey", "--create"], check=True)
            os.chown("/etc/munge/munge.key", account.pw_uid, account.pw_gid)
        self._munged = subprocess.Popen(
            [shutil.which("munged", path=_path()), "-F"],
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: subprocess.run(["munge", "-n"], capture_output=True).returncode == 0)

    def _configure(self):
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(len(NODES) + 1)
        devices = []
        for number in range(GPUS):
            device = self.folder / f"gpu{number}"
            device.symlink_to("/dev/null")
            devices.append(device)
        files = f"{self.folder}/gpu[0-{GPUS - 1}]"
        (self.folder / "gres.conf").write_text(
            f"NodeName={','.join(NODES)} Name=gpu Type=a100 File={files}\n"
        )
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={self.cpus} RealMemory=64000 Gres=gpu:a100:{GPUS} State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        user = getpass.getuser()
        self.configuration.write_text(
            f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool-%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd-%n.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,batch_sched_delay=0,sched_min_interval=0,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdTimeout=30
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SlurmdParameters=config_overrides
JobRequeue=1
KillWait=30
MinJobAge=300
{nodes}
PartitionName=main Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={",".join(NODES)} MaxTime=5 State=UP
PartitionName=small Nodes=n1 MaxNodes=1 State=UP
"""
        )
        (self.folder / "state").mkdir(exist_ok=True)

    def start_controller(self):
        self._start("slurmctld", "-D", "-f", str(self.configuration))
        wait_until(lambda: self.run("sinfo", check=False).returncode == 0, seconds=60)

    def wait_until_saved(self):
        """Until the controller has written down the jobs that it has now: it does so every few
        seconds, and would not know them after a kill -9."""
        now, state = time.time(), self.folder / "state" / "job_state"
        self.run("sbatch", "--hold", "--wrap=true", "--output=/dev/null")  # a change to write down
        wait_until(lambda: state.exists() and state.stat().st_mtime > now, seconds=30)

    def stop_controller(self, number=signal.SIGKILL):
        self._end(self._processes.pop("slurmctld", None), number)

    def start_node(self, node):
        self._start("slurmd", "-D", "-f", str(self.configuration), "-N", node, key=node)

    def kill_node(self, node):
        """End the node's slurmd and all that runs there, as a power cut does."""
        for process in [*self._of_steps(node), self._daemon(node)]:
            if process is not None:
                for item in [*_descendants(process), process]:
                    _kill(item)
        daemon = self._processes.pop(node, None)
        if daemon is not None:
            daemon.wait(30)

    def _daemon(self, node):
        daemon = self._processes.get(node)
        return None if daemon is None else psutil.Process(daemon.pid)

    def _of_steps(self, node):
        """The slurmstepds of a node: they leave their slurmd."""
        found = []
        for process in psutil.process_iter(["name", "cmdline"]):
            if "slurmstepd" not in (process.info["name"] or ""):
                continue
            try:  # each writes to the log of its node
                if any(file.path == f"{self.folder}/{node}.log" for file in process.open_files()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _start(self, program, *arguments, key=""):
        path = shutil.which(program, path=_path())
        with (self.folder / f"{key or program}.out").open("ab") as output:
            self._processes[key or program] = subprocess.Popen(
                [path, *arguments], stdout=output, stderr=output, env=self.environment()
            )

    def _end(self, process, number=signal.SIGKILL):
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    # --- asking it ---------------------------------------------------------------------------

    def environment(self):
        return {**os.environ, "SLURM_CONF": str(self.configuration), "PATH": _path()}

    def run(self, *command, check=True):
        return subprocess.run(
            command, check=check, capture_output=True, text=True, env=self.environment()
        )

    def is_idle(self):
        states = self.run("sinfo", "-h", "-N", "-o", "%T", check=False).stdout.split()
        return len(states) >= len(NODES) and set(states) == {"idle"}

    def job_states(self):
        lines = self.run("squeue", "-h", "-t", "all", "-o", "%i %T").stdout.splitlines()
        return dict(line.split() for line in lines)

    def end_all_jobs(self):
        """And wait until its nodes are free."""
        self.run("scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}", check=False)
        self.run("scancel", f"--user={getpass.getuser()}", check=False)
        nodes = f"nodename={','.join(NODES)}"
        deadline = time.monotonic() + 60
        while not self.is_idle():
            if "drain" in self.run("sinfo", "-h", "-N", "-o", "%T", check=False).stdout:
                self.run("scontrol", "update", nodes, "state=resume", check=False)
            assert time.monotonic() < deadline, self.run("sinfo").stdout
            time.sleep(0.1)


def _descendants(process):
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _kill(process):
    try:
        process.kill()
    except psutil.Error:
        return
