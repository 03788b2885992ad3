"""What is broken, one after the other. Nothing is repaired by hand."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import psutil
import psycopg

from tests.chaos.hub import Hub
from tests.up_process import wait_until

LEASE_SECONDS: Final = 30
IN_TRANSACTION_SECONDS: Final = 60
STANDSTILL_SECONDS: Final = 0.1
# PostgreSQL takes minutes for this one: it has back references, and names no text to look up.
SLOW_PATTERN: Final = r"^(.*)(.*)(.*)\1\2\3\3$"


@dataclass(frozen=True)
class Fault:
    name: str
    seconds: float  # roughly
    act: Callable[[Hub], Any]
    needs_disks: bool = False


# --- processes -------------------------------------------------------------------------------


def web_master(hub: Hub) -> psutil.Process:
    return hub.up.find("serve")[0]


def web_process(hub: Hub) -> psutil.Process:
    return next(child for child in web_master(hub).children() if child.name() != "nginx")


def nginx(hub: Hub) -> psutil.Process:
    return next(child for child in web_master(hub).children() if child.name() == "nginx")


def worker(hub: Hub) -> psutil.Process:
    return hub.up.find("run_worker")[0]


def launcher(hub: Hub) -> psutil.Process:
    return next(
        process for process in hub.up.processes() if "training.py" in str(process.cmdline())
    )


def database(hub: Hub) -> psutil.Process:
    pid = hub.up.database.pid
    assert pid is not None
    return psutil.Process(pid)


def killed(find: Callable[[Hub], psutil.Process]) -> Callable[[Hub], None]:
    def act(hub: Hub) -> None:
        find(hub).kill()
        time.sleep(8)

    return act


def stopped(find: Callable[[Hub], psutil.Process]) -> Callable[[Hub], None]:
    def act(hub: Hub) -> None:
        find(hub).send_signal(signal.SIGSTOP)
        time.sleep(8)

    return act


def worker_stopped_in_a_transaction(hub: Hub) -> None:
    process = worker(hub)
    deadline = time.monotonic() + IN_TRANSACTION_SECONDS
    while True:
        process.send_signal(signal.SIGSTOP)
        if _a_transaction_stands_still(hub):
            break
        process.send_signal(signal.SIGCONT)
        assert time.monotonic() < deadline, "the worker was never seen in a transaction"
        time.sleep(0.003)
    wait_until(lambda: not process.is_running(), LEASE_SECONDS + 30, "the worker is replaced")
    time.sleep(8)


def _a_transaction_stands_still(hub: Hub) -> bool:
    """Whether a connection has locked rows of runs and sends nothing: the stopped worker's."""
    time.sleep(STANDSTILL_SECONDS)
    rows = hub.query(
        "SELECT 1 FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid"
        " WHERE a.state = 'idle in transaction' AND l.relation = 'runs_run'::regclass"
        " AND l.mode IN ('RowShareLock', 'RowExclusiveLock')"
        " AND a.state_change < clock_timestamp() - make_interval(secs => %s)",
        STANDSTILL_SECONDS * 0.8,
    )
    return bool(rows)


# --- database and disks ----------------------------------------------------------------------


def connections_used_up(hub: Hub) -> None:
    """All of the database's connections, for three minutes; those of others are closed."""
    with ExitStack() as held:
        first = psycopg.connect(**hub.up.database.connection_parameters, autocommit=True)
        held.enter_context(first)
        end = time.monotonic() + 180
        others = [first.info.backend_pid]
        while time.monotonic() < end:
            with suppress(psycopg.OperationalError):
                while True:
                    connection = psycopg.connect(**hub.up.database.connection_parameters)
                    held.enter_context(connection)
                    others.append(connection.info.backend_pid)
            first.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> ALL(%s)",
                [others],
            )
            time.sleep(0.2)
    time.sleep(20)


def artifacts_disk_full(hub: Hub) -> None:
    _fill(hub.up.data_dir / "artifacts", 20)


def data_disk_full(hub: Hub) -> None:
    _fill(hub.up.data_dir, 20)


def _fill(directory: Any, seconds: float) -> None:
    path = directory / "filler"
    with path.open("wb") as filler, suppress(OSError):
        while True:
            filler.write(b"\0" * 1_000_000)
            filler.flush()
    time.sleep(seconds)
    path.unlink()
    time.sleep(35)  # the pause before the next attempt to store


def artifacts_read_only(hub: Hub) -> None:
    path = str(hub.up.data_dir / "artifacts")
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
    time.sleep(20)
    subprocess.run(["mount", "-o", "remount,rw", path], check=True)
    time.sleep(35)


# --- clients ---------------------------------------------------------------------------------


def slow_bodies(hub: Hub) -> None:
    """20 clients that send a header, and then a byte now and then."""
    header = b"POST /projects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"
    with ExitStack() as opened:
        clients = []
        for _ in range(20):
            client = socket.create_connection(("127.0.0.1", hub.up.port))
            opened.enter_context(client)
            client.sendall(header)
            clients.append(client)
        for _ in range(20):
            time.sleep(1)
            for client in clients:
                client.sendall(b" ")


def slow_searches(hub: Hub) -> None:
    path = f"/projects/{hub.project}/runs/{hub.reported}/logs?regex={quote(SLOW_PATTERN)}"

    def search() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", hub.up.port, timeout=60)
        connection.request("GET", path)
        statuses.append(connection.getresponse().status)

    statuses: list[int] = []
    threads = [threading.Thread(target=search) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Those that were let in took too long for the server, too.
    assert set(statuses) == {400, 429}, statuses


FAULTS: Final = [
    Fault("nothing", 10, lambda hub: time.sleep(10)),
    Fault("kill -9 of the web server", 8, killed(web_master)),
    Fault("kill -9 of a web process", 8, killed(web_process)),
    Fault("kill -9 of nginx", 8, killed(nginx)),
    Fault("kill -9 of the worker", 8, killed(worker)),
    Fault("kill -9 of a training", 8, killed(launcher)),
    Fault("kill -9 of PostgreSQL", 8, killed(database)),
    Fault("SIGSTOP of a web process", 8, stopped(web_process)),
    Fault("SIGSTOP of nginx", 8, stopped(nginx)),
    Fault("SIGSTOP of the web server", 8, stopped(web_master)),
    Fault("SIGSTOP of the worker in a transaction", 60, worker_stopped_in_a_transaction),
    Fault("20 slow bodies", 20, slow_bodies),
    Fault("24 slow searches", 30, slow_searches),
    Fault("artifacts' disk full", 60, artifacts_disk_full, needs_disks=True),
    Fault("artifacts read-only", 60, artifacts_read_only, needs_disks=True),
    Fault("data directory's disk full", 60, data_disk_full, needs_disks=True),
    Fault("connections used up for 3 minutes", 200, connections_used_up),
]
