"""Why a process failed, read from what it printed."""

import os
import re
import shutil
from pathlib import Path

import pytest

from execution.executors.attempt import Ending
from execution.executors.error_lines import kind_of
from execution.executors.failure import (
    MAX_ERROR_LENGTH,
    diagnose,
    with_killed_ranks,
    work_status,
)
from runs.executors import WorkState
from runs.models import FailureKind

DATA = Path(__file__).with_name("data")


def status(tmp_path, returncode, stderr="", stdout=""):
    (tmp_path / "stderr.log").write_text(stderr)
    (tmp_path / "stdout.log").write_text(stdout)
    return work_status(tmp_path, returncode)


def status_of(tmp_path, name, returncode):
    shutil.copy(DATA / name, tmp_path / "stderr.log")
    return work_status(tmp_path, returncode)


# --- the error -------------------------------------------------------------------------------


def test_reason_has_the_last_exception(tmp_path):
    work = status(tmp_path, 1, "x\nTraceback (most recent call last):\n  File\nKeyError: 'a'\n")

    assert work.state is WorkState.FAILED
    assert str(work.reason).endswith("KeyError: 'a'")
    assert work.failure_kind == FailureKind.EXIT_CODE


def test_reason_without_an_error_is_the_exit_code(tmp_path):
    work = status(tmp_path, 2, "some text\n")

    assert re.search(r"\b2\b", str(work.reason))
    assert "some text" not in str(work.reason)
    assert work.failure_kind == FailureKind.EXIT_CODE


def test_error_is_looked_for_in_stdout_too(tmp_path):
    assert "boom" in str(status(tmp_path, 1, "quiet\n", "ERROR boom\n").reason)


def test_missing_output_is_no_problem(tmp_path):
    assert work_status(tmp_path, 1).failure_kind == FailureKind.EXIT_CODE


def test_exception_of_any_name_is_found_after_a_traceback(tmp_path):
    stderr = "Traceback (most recent call last):\n  File\n    main()\ndata.Exhausted: no rows\n"

    assert str(status(tmp_path, 1, stderr).reason).endswith("data.Exhausted: no rows")


def test_long_error_is_cut(tmp_path):
    reason = status(tmp_path, 1, "ValueError: " + "x" * 5000).reason

    assert len(str(reason)) < MAX_ERROR_LENGTH + 100


def test_cause_is_what_broke_before_the_connection_did(tmp_path):
    work = status_of(tmp_path, "torchrun_out_of_memory.txt", 1)

    assert work.state is WorkState.FAILED
    assert work.failure_kind == FailureKind.OUT_OF_MEMORY
    assert "CUDA out of memory" in str(work.reason)


def test_cause_is_the_exception_of_the_chain_that_says_more(tmp_path):
    work = status_of(tmp_path, "chained_tracebacks.txt", 1)

    assert work.failure_kind == FailureKind.DISK_FULL
    assert "No space left on device" in str(work.reason)


def test_unrelated_earlier_exception_is_no_cause(tmp_path):
    work = status(tmp_path, 1, "MemoryError: handled\nstep 1\nValueError: one\n")

    assert work.failure_kind == FailureKind.EXIT_CODE


def test_timeout_of_nccl_is_a_failed_communication(tmp_path):
    work = status_of(tmp_path, "nccl_timeout.txt", -6)

    assert work.state is WorkState.DIED
    assert work.failure_kind == FailureKind.COMMUNICATION
    assert "SIGABRT" in str(work.reason)
    assert "Watchdog caught" in str(work.reason)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", "out_of_memory"),
        ("torch.cuda.OutOfMemoryError: CUDA", "out_of_memory"),
        ("MemoryError", "out_of_memory"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.", "out_of_memory"),
        ("OSError: [Errno 28] No space left on device", "disk_full"),
        ("OSError: [Errno 122] Disk quota exceeded", "disk_full"),
        ("ModuleNotFoundError: No module named 'torch'", "import_error"),
        ("FloatingPointError: Loss is nan", "diverged"),
        ("ValueError: loss is not finite at step 3", "diverged"),
        ("RuntimeError: NCCL error: unhandled system error", "communication"),
        ("ConnectionResetError: [Errno 104] Connection reset by peer", "communication"),
        ("ValueError: information loss", None),
        ("KeyError: 'a'", None),
    ],
)
def test_kind_is_read_from_the_error(error, kind):
    assert kind_of(error) == kind


# --- what happens next to the training --------------------------------------------------------

TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 1, in work
    work()
"""
OUT_OF_MEMORY = f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory. Tried 2.00 GiB\n"
ASIDES = [
    "Exception ignored in: <function _MultiProcessingDataLoaderIter.__del__ at 0x7f>\n"
    f"{TRACEBACK}AssertionError: can only test a child process\n",
    "Exception ignored in: <_io.TextIOWrapper name='<stdout>' mode='w' encoding='utf-8'>\n"
    "BrokenPipeError: [Errno 32] Broken pipe\n",
    f"Exception in thread Thread-2 (_pin_memory_loop):\n{TRACEBACK}EOFError\n",
    f"Error in atexit._run_exitfuncs:\n{TRACEBACK}wandb.errors.CommError: network\n",
    f"Task exception was never retrieved\nfuture: <Task finished>\n{TRACEBACK}KeyError: 'a'\n",
    f"--- Logging error ---\n{TRACEBACK}TypeError: not all arguments converted\nCall stack:\n"
    '  File "train.py", line 2, in log\n',
    f"Exception in thread Thread-3:\n{TRACEBACK}OSError: [Errno 28] No space left on device\n\n"
    "During handling of the above exception, another exception occurred:\n\n"
    f"{TRACEBACK}RuntimeError: no log\n",
]


@pytest.mark.parametrize("aside", ASIDES, ids=lambda text: text.split(" at ")[0][:30])
def test_error_of_the_training_counts_and_not_those_next_to_it(tmp_path, aside):
    after = status(tmp_path, 1, OUT_OF_MEMORY + aside + aside)
    before = status(tmp_path, 1, aside + OUT_OF_MEMORY)
    elsewhere = status(tmp_path, 1, aside, OUT_OF_MEMORY)

    for work in (after, before, elsewhere):
        assert work.failure_kind == FailureKind.OUT_OF_MEMORY
        assert "CUDA out of memory" in str(work.reason)


@pytest.mark.parametrize("aside", ASIDES, ids=lambda text: text.split(" at ")[0][:30])
def test_error_next_to_the_training_counts_if_there_is_no_other(tmp_path, aside):
    named = [line for line in aside.splitlines() if re.match(r"[\w.]+Error", line)]

    reason = status(tmp_path, 1, "step 1\n" + aside).reason

    assert str(reason).endswith(tuple(named))


# --- deaths ----------------------------------------------------------------------------------


def test_signal_is_a_death(tmp_path):
    work = status(tmp_path, -9)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.KILLED)
    assert "SIGKILL" in str(work.reason)


def test_signal_after_the_memory_ran_out_is_typed_so(tmp_path):
    work = status(tmp_path, -9, "oom-kill: Killed process 12\n")

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.OUT_OF_MEMORY)


HANDLED = f"{TRACEBACK}ModuleNotFoundError: No module named 'flash_attn'\n"
STEPS = "".join(f"step {number}: loss 0.5\n" for number in range(200))
BAR = "\r  1%|          | 1/100 [00:01<01:39]\r  2%|2         | 2/100 [00:02<01:38]"


@pytest.mark.parametrize("returncode", [-9, -11, -15, 137])
@pytest.mark.parametrize("error", [HANDLED, OUT_OF_MEMORY, "ValueError: one\n"])
@pytest.mark.parametrize("later", ["step 1: loss 0.5\n", STEPS, BAR], ids=["step", "steps", "bar"])
def test_error_that_the_training_survived_did_not_kill_it(tmp_path, returncode, error, later):
    work = status(tmp_path, returncode, error + later)

    assert work.state is WorkState.DIED
    assert work.failure_kind == FailureKind.KILLED
    assert "Error" not in str(work.reason)


@pytest.mark.parametrize("error", [HANDLED, "ValueError: one\n"])
def test_error_that_no_signal_follows_from_did_not_kill_the_training(tmp_path, error):
    work = status(tmp_path, -9, error, STEPS)

    assert work.failure_kind == FailureKind.KILLED
    assert "Error" not in str(work.reason)


def test_error_is_survived_if_the_other_file_was_written_long_after(tmp_path):
    status(tmp_path, -9, OUT_OF_MEMORY, STEPS)
    together = work_status(tmp_path, -9)
    os.utime(tmp_path / "stderr.log", (1_700_000_000, 1_700_000_000))

    assert together.failure_kind == FailureKind.OUT_OF_MEMORY
    assert work_status(tmp_path, -9).failure_kind == FailureKind.KILLED


def test_last_words_of_a_crash_are_kept(tmp_path):
    stderr = STEPS + "terminate called after throwing an instance of 'c10::Error'\n"
    stderr += "  what():  CUDA error: an illegal memory access was encountered\n"
    stderr += "CUDA kernel errors might be asynchronously reported\n"

    work = status(tmp_path, -6, stderr)

    assert work.failure_kind == FailureKind.KILLED
    assert str(work.reason).endswith("illegal memory access was encountered")


@pytest.mark.parametrize("name", ["torchrun_rank_killed.txt", "mpirun_killed.txt"])
def test_handled_error_is_not_why_a_rank_was_killed(tmp_path, name):
    work = status(tmp_path, 1, HANDLED + STEPS + (DATA / name).read_text())

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.KILLED)
    assert "Error" not in str(work.reason)


def test_rank_killed_after_the_memory_ran_out_is_typed_so(tmp_path):
    output = (DATA / "torchrun_rank_killed.txt").read_text()

    work = status(tmp_path, 1, STEPS + "oom-kill: Killed process 12\n" + output)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    ("name", "returncode"),
    [
        ("torchrun_rank_killed.txt", 1),
        ("accelerate_rank_killed.txt", 1),
        ("accelerate_killed.txt", 1),
        ("deepspeed_killed.txt", 1),
        ("mpirun_killed.txt", 1),
        ("mpich_killed.txt", 9),
        ("intel_mpi_killed.txt", 255),
        ("bash_killed.txt", 1),
        ("horovod_killed.txt", 1),
    ],
)
def test_rank_killed_under_a_launcher_is_a_death(tmp_path, name, returncode):
    work = status_of(tmp_path, name, returncode)

    assert (work.state, work.exit_code) == (WorkState.DIED, returncode)
    assert work.failure_kind == FailureKind.KILLED
    assert "SIGKILL" in str(work.reason)


def test_task_of_srun_that_ran_out_of_memory_is_a_death(tmp_path):
    work = status_of(tmp_path, "srun_killed.txt", 1)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.OUT_OF_MEMORY)


def test_rank_killed_is_a_death_whichever_rank_the_launcher_saw_first(tmp_path):
    output = (DATA / "torchrun_rank_killed.txt").read_text()
    killed, other = "exitcode  : -9 (pid: ", "exitcode  : 1 (pid: "
    output = output.replace(killed, "(1)").replace(other, killed).replace("(1)", other)

    work = status(tmp_path, 1, output.replace("failed (exitcode: -9)", "failed (exitcode: 1)"))

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.KILLED)


def test_rank_killed_after_another_has_failed_is_no_death(tmp_path):
    output = (DATA / "torchrun_rank_failed.txt").read_text()
    output = output.replace("exitcode  : 1 (pid: ", "exitcode  : -9 (pid: ", 1)

    work = status(tmp_path, 1, output)

    assert (work.state, work.failure_kind) == (WorkState.FAILED, FailureKind.EXIT_CODE)


@pytest.mark.parametrize(
    "name",
    [
        "torchrun_rank_failed.txt",
        "deepspeed_failed.txt",
        "srun_failed.txt",
        "intel_mpi_failed.txt",
    ],
)
def test_failing_rank_says_why(tmp_path, name):
    work = status_of(tmp_path, name, 1)

    assert work.state is WorkState.FAILED
    assert "ValueError: the learning rate is too high" in str(work.reason)


@pytest.mark.parametrize(
    ("name", "returncode", "cut_off"),
    [
        ("torchrun_rank_killed.txt", 1, True),
        ("torchrun_rank_failed.txt", 1, False),
        ("gbk.txt", 137, True),
        ("gbk.txt", 143, False),
        ("gbk.txt", 0, False),
    ],
)
def test_what_a_killed_rank_was_writing_is_not_trusted(tmp_path, name, returncode, cut_off):
    shutil.copy(DATA / name, tmp_path / "stderr.log")
    ending = Ending(returncode, at=5.0, cut_off=False)

    judged = with_killed_ranks(ending, tmp_path, "utf-8")

    assert judged.cut_off is cut_off
    assert (judged.trusted_until == 5.0) is cut_off


@pytest.mark.parametrize(
    "line",
    [
        "E0105 08:00:00.000 1 api.py:869] failed (exitcode: -9) local_rank: 0",
        "E0105 08:00:00.000 1 api.py:869] failed (exitcode: 137) local_rank: 0",
        "torch.multiprocessing.spawn.ProcessExitedException: process 0 terminated with signal "
        "SIGKILL",
    ],
)
def test_signal_of_a_rank_is_read_from_one_line(line):
    assert diagnose([[line]]).rank_signal == 9


@pytest.mark.parametrize(
    "line", ["failed (exitcode: 1) local_rank: 0", "exitcode: -9 is a number", "exits with code 1"]
)
def test_other_codes_are_no_signals(line):
    assert diagnose([[line, "ValueError: one"]]).rank_signal is None


@pytest.mark.parametrize("code", [126, 127])
def test_command_that_cannot_be_executed_cannot_start(tmp_path, code):
    assert status(tmp_path, code).failure_kind == FailureKind.CANNOT_START
