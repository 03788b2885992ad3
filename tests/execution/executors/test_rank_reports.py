"""What launchers and shells report at their end, and what only looks like it."""

import pytest

from execution.executors.failure import diagnose
from execution.executors.rank_reports import LAUNCHER_LINES, SHELL_LINES, signal_at_end


def found(*lines, has_own_error=False):
    return signal_at_end(list(lines), has_own_error=has_own_error)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)", 9),
        ("APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)", 11),
        ("=   KILLED BY SIGNAL: 9 (Killed)", 9),
        ("srun: error: gpu07: task 1: Killed", 9),
        ("srun: error: gpu07: tasks 0,2-3: Out Of Memory", 9),
        ("srun: error: gpu07: task 1: Segmentation fault (core dumped)", 11),
        ("srun: error: gpu07: task 1: Exited with exit code 137", 9),
        ("srun: error: gpu07: task 1: Exited with exit code 1", None),
        ("Process 1 exit with status code 137.", 9),
        ("Exit code: 137", 9),
        ("Exit code:    1", None),
        (
            "[n1:mpispawn_0][child_handler] MPI process (rank: 1, pid: 7) terminated with signal 9",
            9,
        ),
        ("make: *** [Makefile:2: train] Error 137", 9),
        ("make: *** [Makefile:2: train] Error 2", None),
        ("xargs: python: terminated by signal 9", 9),
        ("bash: line 1:  4242 Killed                  python train.py", 9),
        ("bash:  6187 Killed                  python train.py", 9),
        ("/job/train.sh: line 2: 64229 Segmentation fault      (core dumped) python train.py", 11),
        ("Killed", 9),
        ("Segmentation fault (core dumped)", 11),
    ],
)
def test_signal_is_read_from_one_line(line, number):
    assert found("step 1", line) == number


@pytest.mark.parametrize(
    "line",
    [
        "Killed by the dragon",
        "Aborted",
        "episode 5: 12 Killed",
        "line 3: 17 Killed",
        "reward: 3 Killed",
        "task 1: Killed",
        "the exit code: 137",
        "error: 9 (Killed)",
    ],
)
def test_text_of_a_script_is_no_report(line):
    assert found("step 1", line) is None


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("srun: error: gpu07: task 1: Killed", LAUNCHER_LINES),
        ("evaluate.sh: line 2: 6229 Killed    python evaluate.py", SHELL_LINES),
    ],
)
def test_only_the_end_counts(line, after):
    assert found(line, *["step 1"] * (after - 1)) == 9
    assert found(line, *["step 1"] * after) is None


def test_first_of_several_reports_counts():
    failed = "srun: error: gpu07: task 0: Exited with exit code 1"

    assert found(failed, "srun: error: gpu07: task 1: Killed") is None


def test_intel_mpi_kills_those_that_have_failed_too():
    assert found("=   KILLED BY SIGNAL: 9 (Killed)", has_own_error=True) is None


def test_connection_that_broke_is_no_failure_of_its_own():
    lines = ["RuntimeError: Connection closed by peer", "=   KILLED BY SIGNAL: 9 (Killed)"]

    assert diagnose([lines]).rank_signal == 9
