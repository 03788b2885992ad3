"""What the processes of a training do at this moment."""

import subprocess
import sys
import threading

import psutil
import pytest

from execution.executors import stacks
from execution.executors.stacks import stacks_of


@pytest.fixture
def process(request):
    """A process with the command of the test's parameter that has printed a line and waits."""
    process = subprocess.Popen(request.param, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield psutil.Process(process.pid)
    process.kill()
    process.communicate()


HANGING = """
import threading
def all_reduce():
    print("hanging", flush=True)
    threading.Event().wait()
all_reduce()
"""


@pytest.mark.parametrize("process", [[sys.executable, "-c", HANGING]], indirect=True)
def test_stack_of_a_python_process_names_the_line_it_hangs_in(process):
    text = stacks_of([process])

    assert f"=== {process.pid} (parent" in text
    assert "all_reduce (<string>:5)" in text


@pytest.mark.parametrize("process", [["sh", "-c", "echo; exec sleep 600"]], indirect=True)
def test_other_process_is_described_without_a_stack(process):
    text = stacks_of([process])

    assert "sleep 600" in text
    assert len(text.splitlines()) == 1


def test_process_that_has_gone_is_named():
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(gone.pid)
    gone.kill()
    gone.communicate()

    assert f"=== {gone.pid}: " in stacks_of([process])


@pytest.mark.parametrize("process", [[sys.executable, "-c", HANGING]], indirect=True)
def test_stack_that_cannot_be_read_says_why(process, monkeypatch, tmp_path):
    failing = tmp_path / "py-spy"
    failing.write_text("#!/bin/sh\necho 'Permission Denied' >&2; exit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(stacks, "PY_SPY", failing)

    assert "py-spy: Permission Denied" in stacks_of([process])


@pytest.mark.parametrize("process", [[sys.executable, "-c", HANGING]], indirect=True)
def test_missing_py_spy_is_said(process, monkeypatch, tmp_path):
    monkeypatch.setattr(stacks, "PY_SPY", tmp_path / "py-spy")

    assert "py-spy cannot be run" in stacks_of([process])


class Stuck:
    """A process of which the kernel tells nothing until ``answer`` is set."""

    pid = 1

    def __init__(self):
        self.answer = threading.Event()

    def oneshot(self):
        self.answer.wait(timeout=60)
        raise psutil.NoSuchProcess(self.pid)


@pytest.mark.parametrize("process", [["sh", "-c", "echo; exec sleep 600"]], indirect=True)
def test_process_about_which_nothing_is_told_delays_the_others_text_no_longer(process, monkeypatch):
    monkeypatch.setattr(stacks, "TOTAL_SECONDS", 1.0)
    stuck = Stuck()

    text = stacks_of([process, stuck])

    assert "sleep 600" in text
    assert text.splitlines()[-1] == "The others could not be read within 1 s."
    stuck.answer.set()
