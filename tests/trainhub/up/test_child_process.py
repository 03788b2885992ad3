"""A child process exits when its parent exits or is killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.processes import lives

REPOSITORY = Path(__file__).parents[3]

# A parent that starts a child with the given code and waits.
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
print(child.pid, flush=True)
child.wait()
"""
CHILD = """
import signal, sys, time
from pathlib import Path
from trainhub.up.child_process import exit_with_parent
{before}
exit_with_parent(int(sys.argv[1]), grace_seconds=0.3)
Path({ready!r}).touch()
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Starts a parent and its child; returns both once the child watches the parent."""
    parents = []

    def start(before: str = "") -> tuple[subprocess.Popen[str], psutil.Process]:
        ready = tmp_path / "ready"
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, CHILD.format(before=before, ready=str(ready))],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        parents.append(parent)
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + 10
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return parent, child

    yield start
    for parent in parents:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(parent.pid).children(recursive=True):
                process.kill()
        parent.kill()
        parent.communicate()


def test_child_of_a_killed_parent_exits(start):
    parent, child = start()

    parent.kill()

    psutil.wait_procs([child], timeout=5)
    assert not lives(child)


def test_child_that_ignores_sigterm_is_killed(start):
    parent, child = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")

    parent.kill()

    psutil.wait_procs([child], timeout=5)
    assert not lives(child)


def test_child_of_a_running_parent_keeps_running(start):
    _parent, child = start()

    # Longer than the polling interval.
    _gone, alive = psutil.wait_procs([child], timeout=1.2)

    assert alive == [child]


def test_child_started_after_its_parent_exited_exits_at_once(tmp_path: Path):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run(
            # Not the pid of its parent, which is this test.
            [sys.executable, "-c", CHILD.format(before="", ready=str(tmp_path / "r")), "1"],
            cwd=REPOSITORY,
            check=True,
            timeout=10,
        )

    assert caught.value.returncode == -15


def test_command_is_named_in_the_audit():
    code = (
        "import sys; from trainhub.up import child_process; from django.core import management\n"
        "def run(arguments):\n"
        "    from audit.callers import caller\n"
        "    print(arguments[1], caller().via)\n"
        "management.execute_from_command_line = run\n"
        "child_process.main(int(sys.argv[1]), ['run_worker', '--name', 'local'])\n"
    )

    output = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import django, os; os.environ['DJANGO_SETTINGS_MODULE'] = "
            f"'trainhub.settings'; django.setup()\n{code}",
            str(os.getpid()),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert output.split() == ["run_worker", "run_worker"]
