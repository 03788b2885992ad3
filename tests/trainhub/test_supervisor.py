"""What ends unasked is started again, with longer and longer pauses, and not for ever."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from trainhub.supervisor import ChildProcess, GaveUp, RestartPolicy, Supervisor, stop_all

pytestmark = pytest.mark.usefixtures("english")

SLEEP = "import time; time.sleep(60)"
# A parent whose child outlives it, as a web server's may.
SLEEP_TWICE = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}]).pid, file=open("grandchild", "w"))
time.sleep(60)
"""
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('deaf', 'w'); {SLEEP}"


class FakeService:
    name = "The fake"

    def __init__(self, *, lives: int = 0) -> None:
        """It fails ``lives`` looks after each start."""
        self.lives = lives
        self.starts = 0
        self._left = lives

    def start(self) -> None:
        self.starts += 1
        self._left = self.lives

    def failure(self) -> str | None:
        self._left -= 1
        return None if self._left >= 0 else "broke"


@pytest.fixture
def make_child(tmp_path: Path) -> Iterator[Callable[[str], ChildProcess]]:
    children = []

    def make(code: str) -> ChildProcess:
        child = ChildProcess("The child", [sys.executable, "-c", code], tmp_path)
        child.start()
        children.append(child)
        return child

    yield make
    for child in children:
        child.kill()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the supervisor sees, in seconds: ``clock[0]``."""
    now = [1000.0]
    monkeypatch.setattr("trainhub.supervisor.time.monotonic", lambda: now[0])
    return now


def wait_until_exists(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.stat().st_size >= (path.name == "grandchild")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fail_and_restart(supervisor: Supervisor, clock: list[float]) -> None:
    supervisor.tick()  # sees the failure
    clock[0] += 40  # longer than any pause
    supervisor.tick()  # starts it again


# --- Restarts --------------------------------------------------------------------------------


def test_service_that_ended_is_started_again_after_a_pause(clock: list[float]):
    service, said = FakeService(), []
    supervisor = Supervisor([service], say=said.append)

    supervisor.tick()
    clock[0] += 0.4
    supervisor.tick()
    assert service.starts == 0
    clock[0] += 0.2
    supervisor.tick()

    assert service.starts == 1
    assert said == ["The fake broke; starting it again in 0.5 s."]


def test_service_that_runs_is_left_alone(clock: list[float]):
    service = FakeService(lives=3)
    supervisor = Supervisor([service], say=pytest.fail)

    for _ in range(3):
        supervisor.tick()

    assert service.starts == 0


def test_restarts_are_told_to_whoever_keeps_the_record(clock: list[float]):
    told: list[int] = []
    supervisor = Supervisor([FakeService()], say=lambda _: None, started=lambda: told.append(1))

    fail_and_restart(supervisor, clock)

    assert told == [1]


def test_pauses_double_up_to_a_longest():
    policy = RestartPolicy(first_seconds=0.5, longest_seconds=30)

    pauses = [policy.delay(failures) for failures in range(1, 9)]

    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_service_that_ends_again_and_again_is_given_up(clock: list[float]):
    supervisor = Supervisor([FakeService()], say=lambda _: None, policy=RestartPolicy(limit=2))
    for _ in range(2):
        fail_and_restart(supervisor, clock)

    with pytest.raises(GaveUp, match="The fake broke, 3 times in a row"):
        supervisor.tick()


def test_service_that_has_run_for_long_starts_counting_anew(clock: list[float]):
    service = FakeService(lives=1)
    supervisor = Supervisor([service], say=lambda _: None, policy=RestartPolicy(limit=1))

    for _ in range(5):
        supervisor.tick()  # runs
        clock[0] += 61
        fail_and_restart(supervisor, clock)

    assert service.starts == 5


# --- Child processes -------------------------------------------------------------------------


def test_child_that_exits_says_its_exit_code(make_child: Callable[[str], ChildProcess]):
    child = make_child("raise SystemExit(3)")

    while not child.has_ended:
        time.sleep(0.02)

    assert child.failure() == "ended with exit code 3"


def test_child_that_is_killed_says_by_which_signal(make_child: Callable[[str], ChildProcess]):
    child = make_child(SLEEP)
    assert child.failure() is None
    assert child.pid is not None

    os.kill(child.pid, signal.SIGKILL)
    while not child.has_ended:
        time.sleep(0.02)

    assert child.failure() == "was killed by SIGKILL"


def test_child_that_died_leaves_no_process_of_its_own(
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


def test_child_has_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(
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


def test_child_that_is_too_slow_to_stop_is_killed(
    make_child: Callable[[str], ChildProcess], tmp_path: Path
):
    deaf = make_child(DEAF)
    wait_until_exists(tmp_path / "deaf")

    late = stop_all([deaf], 0.3)

    assert late == [deaf]
    assert deaf.has_ended


def test_hurry_ends_the_waiting(make_child: Callable[[str], ChildProcess], tmp_path: Path):
    deaf = make_child(DEAF)
    wait_until_exists(tmp_path / "deaf")
    started = time.monotonic()

    stop_all([deaf], 60, hurry=lambda: True)

    assert time.monotonic() - started < 10
