"""Failed services are restarted with increasing delays, however often."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from trainhub.up.supervisor import (
    ChildProcess,
    RestartPolicy,
    Supervisor,
    stop_all,
)

pytestmark = pytest.mark.usefixtures("english")

SLEEP = "import time; time.sleep(60)"
# A parent whose child outlives it, as the processes of a web server may.
SLEEP_TWICE = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}]).pid, file=open("grandchild", "w"))
time.sleep(60)
"""
IGNORE_SIGTERM = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('stubborn', 'w'); {SLEEP}"
)


class FakeService:
    name = "The fake"

    def __init__(self, *, successes: int = 0) -> None:
        """After each start, ``successes`` checks succeed before the first failure."""
        self.successes = successes
        self.starts = 0
        self._left = successes

    def start(self) -> None:
        self.starts += 1
        self._left = self.successes

    def failure(self) -> str | None:
        self._left -= 1
        return None if self._left >= 0 else "broke"


@pytest.fixture
def make_child(tmp_path: Path) -> Iterator[Callable[[str], ChildProcess]]:
    children = []

    def make(code: str) -> ChildProcess:
        child = ChildProcess(
            "The child", [sys.executable, "-c", code], tmp_path, frozen_seconds=0.2
        )
        child.start()
        children.append(child)
        return child

    yield make
    for child in children:
        child.kill()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The supervisor's time in seconds: ``clock[0]``."""
    now = [1000.0]
    monkeypatch.setattr("trainhub.up.supervisor.time.monotonic", lambda: now[0])
    return now


def wait_until_exists(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.stat().st_size >= (path.name == "grandchild")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fail_and_restart(supervisor: Supervisor, clock: list[float]) -> None:
    supervisor.tick()  # sees the failure
    clock[0] += 40  # longer than any delay
    supervisor.tick()  # restarts it


# --- Restarts --------------------------------------------------------------------------------


def test_failed_service_is_restarted_after_a_delay(clock: list[float]):
    service, messages = FakeService(), []
    supervisor = Supervisor([service], report=messages.append)

    supervisor.tick()
    clock[0] += 0.4
    supervisor.tick()
    assert service.starts == 0
    clock[0] += 0.2
    supervisor.tick()

    assert service.starts == 1
    assert messages == ["The fake broke; restarting in 0.5 s."]


def test_running_service_is_not_restarted(clock: list[float]):
    service = FakeService(successes=3)
    supervisor = Supervisor([service], report=pytest.fail)

    for _ in range(3):
        supervisor.tick()

    assert service.starts == 0


def test_started_is_called_after_a_restart(clock: list[float]):
    calls: list[int] = []
    supervisor = Supervisor([FakeService()], report=lambda _: None, started=lambda: calls.append(1))

    fail_and_restart(supervisor, clock)

    assert calls == [1]


def test_delays_double_up_to_a_maximum():
    policy = RestartPolicy(first_seconds=0.5, longest_seconds=30)

    delays = [policy.delay(failures) for failures in range(1, 9)]

    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_service_that_keeps_failing_is_restarted_without_end(clock: list[float]):
    service = FakeService()
    supervisor = Supervisor([service], report=lambda _: None)

    for _ in range(1100):  # 2.0 ** 1100 overflows
        fail_and_restart(supervisor, clock)

    assert service.starts == 1100


def test_delay_is_short_again_after_a_long_run(clock: list[float]):
    service, messages = FakeService(successes=1), []
    supervisor = Supervisor([service], report=messages.append)

    for _ in range(3):
        supervisor.tick()  # runs
        clock[0] += 61
        fail_and_restart(supervisor, clock)

    assert messages == ["The fake broke; restarting in 0.5 s."] * 3


# --- Child processes -------------------------------------------------------------------------


def test_failure_of_an_exited_child_has_its_exit_code(make_child: Callable[[str], ChildProcess]):
    child = make_child("raise SystemExit(3)")

    while not child.has_ended:
        time.sleep(0.02)

    assert child.failure() == "exited with code 3"


def test_failure_of_a_killed_child_names_the_signal(make_child: Callable[[str], ChildProcess]):
    child = make_child(SLEEP)
    assert child.failure() is None
    assert child.pid is not None

    os.kill(child.pid, signal.SIGKILL)
    while not child.has_ended:
        time.sleep(0.02)

    assert child.failure() == "was killed by SIGKILL"


def test_stopped_child_is_killed_and_has_failed(make_child: Callable[[str], ChildProcess]):
    child = make_child(SLEEP)
    assert child.pid is not None

    os.kill(child.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while (failure := child.failure()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert failure == "was frozen for 0.2 s"
    assert child.has_ended


def test_child_that_goes_on_in_time_is_left_alone(make_child: Callable[[str], ChildProcess]):
    child = make_child(SLEEP)
    assert child.pid is not None

    for _ in range(5):
        os.kill(child.pid, signal.SIGSTOP)
        assert child.failure() is None
        os.kill(child.pid, signal.SIGCONT)
        assert child.failure() is None

    assert not child.has_ended


def test_processes_of_a_dead_child_are_killed(
    make_child: Callable[[str], ChildProcess], tmp_path: Path
):
    child = make_child(SLEEP_TWICE)
    wait_until_exists(tmp_path / "grandchild")
    grandchild = psutil.Process(int((tmp_path / "grandchild").read_text()))
    assert child.pid is not None

    os.kill(child.pid, signal.SIGKILL)
    while child.failure() is None:
        time.sleep(0.02)

    grandchild.wait(timeout=5)  # raises if it still runs


def test_child_runs_in_its_own_session_unaffected_by_ctrl_c(
    make_child: Callable[[str], ChildProcess],
):
    child = make_child(SLEEP)
    assert child.pid is not None

    assert os.getsid(child.pid) == child.pid


def test_children_are_stopped_together(make_child: Callable[[str], ChildProcess]):
    children = [make_child(SLEEP), make_child(SLEEP)]

    late = stop_all(children, 5)

    assert late == []
    assert all(child.has_ended for child in children)


def test_child_that_does_not_stop_in_time_is_killed(
    make_child: Callable[[str], ChildProcess], tmp_path: Path
):
    stubborn = make_child(IGNORE_SIGTERM)
    wait_until_exists(tmp_path / "stubborn")

    late = stop_all([stubborn], 0.3)

    assert late == [stubborn]
    assert stubborn.has_ended


def test_force_ends_the_wait(make_child: Callable[[str], ChildProcess], tmp_path: Path):
    stubborn = make_child(IGNORE_SIGTERM)
    wait_until_exists(tmp_path / "stubborn")
    started = time.monotonic()

    stop_all([stubborn], 60, force=lambda: True)

    assert time.monotonic() - started < 10
