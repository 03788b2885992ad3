"""The launchers of one training on several nodes, which share the attempt's directory.

Each node has a launcher with its own output and notes: the node of rank 0 in the attempt's
directory, the others in ``node-<rank>`` there. What they share is in the attempt's directory:
requests (``stop-sent``, ``killed``, ``time-limit``), ``rendezvous.json`` ({"host", "port"} of rank
0, chosen by its launcher) and ``node-failed`` ({"node", "lost"}: the first node whose training has
failed, or whose launcher has disappeared). Each launcher touches ``heartbeat`` in its folder.

The directory may be on a file server. Its clients remember for a minute what a name means, or that
it means nothing, but ask the server anew when a file or folder is opened (close-to-open
consistency, nfs(5)): so folders are listed and files opened before they are judged.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from execution.launcher.files import private, raise_flag, reserve, write_atomically
from execution.launcher.requests import ASKED, PEER_FAILED, TIME_LIMIT, Requests

HEARTBEAT: Final = "heartbeat"
NODE_FAILED: Final = "node-failed"
RENDEZVOUS: Final = "rendezvous.json"
TIME_IS_UP: Final = "time-limit"
MIRROR_ALIVE: Final = "mirror-alive"  # without a shared directory: see remote.py
MIRROR_LOST_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.2
HEARTBEAT_SECONDS: Final = 5.0
LOST_SECONDS: Final = 40.0  # without a heartbeat
GRACE_SECONDS: Final = 10.0
# Before the end of the job, besides the time that the training may take to save: Slurm ends jobs at
# whole minutes and with some delay, not early.
MARGIN_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Node:
    """One of the nodes of an attempt."""

    attempt: Path
    rank: int
    count: int

    @classmethod
    def here(cls, attempt: Path, launch: Mapping[str, Any], environ: Mapping[str, str]) -> Node:
        """The node that this process runs on: the engine starts one launcher on each."""
        count = int(launch.get("nodes", 1))
        rank = environ.get("TRAINHUB_NODE_RANK") or environ.get("SLURM_PROCID") or "0"
        return cls(attempt, int(rank) if "engine" in launch else 0, count)

    @property
    def directory(self) -> Path:
        return folder_of(self.attempt, self.rank)

    @property
    def watched(self) -> list[int]:
        """The ranks whose disappearance it notices."""
        return list(range(1, self.count)) if self.rank == 0 else [0]


def folder_of(attempt: Path, rank: int) -> Path:
    return attempt if rank == 0 else attempt / f"node-{rank}"


def prepare(folder: Path) -> None:
    """The files of a node that have to be there, and places for those that must find some."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in ("process.json", "exit.json"):
        reserve(folder / name)
    for name in ("stdout.log", "stderr.log", "launcher.log"):
        (folder / name).touch(0o600)


def heartbeat_ns(folder: Path, name: str = HEARTBEAT) -> int | None:
    """When the launcher of this folder last showed that it is there, in ns of the file server's
    clock; None if it never has."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


class Silence:
    """For how long a launcher has shown no sign, by this process's clock."""

    def __init__(self, folder: Path, name: str = HEARTBEAT) -> None:
        self._folder, self._name = folder, name
        self._last: int | None = None
        self._since = time.monotonic()

    def seconds(self) -> float:
        """0.0 until it has shown one."""
        now, last = time.monotonic(), heartbeat_ns(self._folder, self._name)
        if last is None or last != self._last:
            self._last, self._since = last, now
        return now - self._since


class NodeRequests(Requests):
    """Requests to one of the launchers of an attempt that an engine runs."""

    def __init__(self, node: Node, launch: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        super().__init__(node.directory)
        self._node = node
        self._grace = float(launch.get("grace_seconds", GRACE_SECONDS))
        self._ends = job_end(environ.get("TRAINHUB_JOB_TIME_LEFT", ""), self._grace)
        self._silences = {rank: Silence(folder_of(node.attempt, rank)) for rank in node.watched}
        self._mirror = Silence(node.attempt, MIRROR_ALIVE)
        self._failed_at: float | None = None
        self._next_look = self._next_beat = 0.0

    def look(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look(now)
        if now >= self._next_beat:
            self._next_beat = now + HEARTBEAT_SECONDS
            self._beat()
            self._find_lost()

    def _look(self, now: float) -> None:
        try:
            names = set(os.listdir(self._node.attempt))
        except FileNotFoundError:
            self.kill = True  # deleted: nobody waits for it
            return
        except OSError:
            return  # a file server that does not answer for now
        if self._ends is not None and now >= self._ends and self._node.rank == 0:
            with contextlib.suppress(OSError):
                raise_flag(self._node.attempt / TIME_IS_UP)
        if NODE_FAILED in names and self._failed_at is None:
            self._failed_at = now
        is_late = self._failed_at is not None and now > self._failed_at + self._grace
        is_unheard = MIRROR_ALIVE in names and self._mirror.seconds() > MIRROR_LOST_SECONDS
        self.kill = "killed" in names or is_late or is_unheard
        if "stop-sent" in names:
            self.stop = ASKED
        elif TIME_IS_UP in names:
            self.stop = TIME_LIMIT
        elif NODE_FAILED in names:
            self.stop = PEER_FAILED

    def _beat(self) -> None:
        path = self._node.directory / HEARTBEAT
        with contextlib.suppress(OSError):
            try:
                os.utime(path)
            except FileNotFoundError:
                path.touch(0o600)

    def _find_lost(self) -> None:
        for rank, silence in self._silences.items():
            if silence.seconds() > LOST_SECONDS and not _has_ended(self._node.attempt, rank):
                _report_failure(self._node.attempt, rank, is_lost=True)

    def complete(self, ending: dict[str, Any]) -> None:
        """Ranks end with those that were asked first, maybe before their own launcher asks them."""
        self._look(time.monotonic())
        ending["terminated"] = self.is_terminated
        if self.stop and ending["returncode"] != 0:
            ending[self.stop] = True

    def ended(self, ending: dict[str, Any]) -> None:
        others = (ASKED, TIME_LIMIT, PEER_FAILED, "terminated")
        by_itself = not any(ending.get(why) for why in others)
        if ending["returncode"] != 0 and by_itself:
            _report_failure(self._node.attempt, self._node.rank, is_lost=False)


def _has_ended(attempt: Path, rank: int) -> bool:
    try:
        return "exit.json" in os.listdir(folder_of(attempt, rank))
    except OSError:
        return False


def _report_failure(attempt: Path, rank: int, *, is_lost: bool) -> None:
    """Note the first failure: later ones are its echoes."""
    content = json.dumps({"node": rank, "lost": is_lost}).encode()
    with contextlib.suppress(OSError):  # it has been noted
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = private(str(attempt / NODE_FAILED), flags)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)


# --- the time limit --------------------------------------------------------------------------


def job_end(left: str, grace_seconds: float) -> float | None:
    """When to ask the training to save, in monotonic seconds, if its job has ``left`` as squeue
    writes it ([days-]hours:minutes:seconds); None without a limit."""
    seconds = seconds_in(left)
    if seconds is None:
        return None
    ahead = min(grace_seconds + MARGIN_SECONDS, seconds / 2)
    return time.monotonic() + seconds - ahead


def seconds_in(text: str) -> int | None:
    """A duration as Slurm writes it; None if it is none, such as UNLIMITED."""
    days, dash, clock = text.strip().rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        total = int(days) * 86_400 if dash else 0
    except ValueError:
        return None
    while len(parts) < 3:
        parts.insert(0, 0)
    hours, minutes, seconds = parts[-3:]
    return total + hours * 3600 + minutes * 60 + seconds


# --- what the training is told ---------------------------------------------------------------

# What an engine sets for the processes of a job, which nothing may replace.
_ASSIGNED: Final = ("SLURM_", "SLURMD_", "PMI_", "PMIX_", "PMI2_")
_DEVICES: Final = frozenset(
    {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"}
    | {"GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK", "ASCEND_RT_VISIBLE_DEVICES"}
)


def environment(
    node: Node, launch: Mapping[str, Any], environ: Mapping[str, str], meeting: dict[str, Any]
) -> dict[str, str]:
    """The variables of the training on this node: the job's own, those that TrainHub gives it, and
    where its ranks meet. Recipes may set PyTorch's names themselves."""
    host, port = str(meeting["host"]), str(meeting["port"])
    ours = {
        "TRAINHUB_NODES": str(node.count),
        "TRAINHUB_NODE_RANK": str(node.rank),
        "TRAINHUB_MASTER_ADDR": host,
        "TRAINHUB_MASTER_PORT": port,
    }
    # torchrun takes the defaults of its arguments from PET_<ARGUMENT>: torch/distributed/run.py.
    pytorch = {
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "NODE_RANK": str(node.rank),
        "PET_NNODES": str(node.count),
        "PET_NODE_RANK": str(node.rank),
        "PET_MASTER_ADDR": host,
        "PET_MASTER_PORT": port,
    }
    if gpus := int(launch.get("gpus_per_node", 0)):
        pytorch["PET_NPROC_PER_NODE"] = str(gpus)
    assigned = {
        name: value
        for name, value in environ.items()
        if name in _DEVICES or name.startswith(_ASSIGNED)
    }
    return {**environ, **pytorch, **launch["environment"], **assigned, **ours}


def meet(node: Node, requests: Requests) -> dict[str, Any] | None:
    """Where the ranks of all nodes meet, which rank 0 chooses; None if it is to end before it is
    known. Raises OSError."""
    path = node.attempt / RENDEZVOUS
    if node.rank == 0:
        meeting = {"host": own_name(), "port": free_port()}
        write_atomically(path, meeting)
        return meeting
    while True:
        requests.look()
        if requests.stop or requests.kill:
            return None
        with contextlib.suppress(FileNotFoundError):
            meeting = json.loads(path.read_text())
            return dict(meeting)
        time.sleep(LOOK_SECONDS)


def own_name() -> str:
    """A name of this machine that the other nodes can use."""
    told = (os.environ.get("TRAINHUB_NODE_ADDRESS"), os.environ.get("SLURMD_NODENAME"))
    for name in (*told, socket.gethostname()):
        with contextlib.suppress(OSError):
            if name and socket.getaddrinfo(name, None):
                return name
    return "127.0.0.1"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


# --- how it ended ----------------------------------------------------------------------------


def exit_code(attempt: Path) -> int:
    """The exit code for the engine's own records: that of the first node that failed."""
    try:
        failed = json.loads((attempt / NODE_FAILED).read_text())["node"]
    except (OSError, ValueError):
        failed = 0
    try:
        ending = json.loads((folder_of(attempt, failed) / "exit.json").read_text())
    except FileNotFoundError:
        return 1 if attempt.exists() else 0
    code = int(ending["returncode"])
    return code if code >= 0 else 128 - code
