"""The launcher, which outlives its worker."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from execution.launcher import PROGRAM, program
from tests.waiting import wait_until


@pytest.fixture
def directory(tmp_path):
    return tmp_path


def prepare(directory, *command, **environment):
    launch = {"command": list(command), "environment": {"PATH": os.environ["PATH"], **environment}}
    (directory / "launch.json").write_text(json.dumps(launch))


def python(code):
    return sys.executable, "-c", code


def run(directory):
    return subprocess.run(
        [sys.executable, "-I", PROGRAM, str(directory)],
        check=True,
        timeout=60,
        capture_output=True,
    )


def exit_code(directory):
    return json.loads((directory / "exit.json").read_text())["returncode"]


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_is_recorded(directory, code):
    prepare(directory, *python(f"raise SystemExit({code})"))

    run(directory)

    assert exit_code(directory) == code


def test_signal_is_recorded_as_a_negative_number(directory):
    prepare(directory, *python("import os; os.kill(os.getpid(), 9)"))

    run(directory)

    assert exit_code(directory) == -9


def test_command_that_cannot_be_executed_exits_with_127_and_the_reason(directory):
    prepare(directory, "/no/such/program")

    run(directory)

    assert exit_code(directory) == program.CANNOT_EXECUTE
    assert "/no/such/program" in (directory / "stderr.log").read_text()


def test_output_goes_to_files(directory):
    prepare(directory, *python("import sys; print('out'); print('err', file=sys.stderr)"))

    run(directory)

    assert (directory / "stdout.log").read_text() == "out\n"
    assert (directory / "stderr.log").read_text() == "err\n"


def test_command_runs_in_the_directory_with_exactly_the_environment(directory):
    prepare(
        directory,
        *python("import json, os; print(json.dumps([os.getcwd(), sorted(os.environ)]))"),
        ONLY="this",
    )

    run(directory)

    folder, names = json.loads((directory / "stdout.log").read_text())
    assert Path(folder) == directory.resolve()
    assert set(names) - {"LC_CTYPE"} == {"ONLY", "PATH"}


def test_second_launcher_does_nothing(directory):
    prepare(directory, *python("print('ran')"))

    run(directory)
    run(directory)

    assert (directory / "stdout.log").read_text() == "ran\n"


def test_concurrent_launchers_start_one_command(directory):
    prepare(directory, *python("import time; print('ran', flush=True); time.sleep(0.3)"))
    command = [sys.executable, "-I", PROGRAM, str(directory)]

    both = [subprocess.Popen(command) for _ in range(2)]
    for process in both:
        process.wait(timeout=60)

    assert (directory / "stdout.log").read_text() == "ran\n"


def test_killed_attempt_starts_nothing(directory):
    prepare(directory, *python("print('ran')"))
    (directory / "killed").touch()

    run(directory)

    assert not (directory / "stdout.log").exists()


def test_launcher_ignores_signals_and_the_command_does_not(directory):
    prepare(directory, *python("import time; time.sleep(600)"))
    process = subprocess.Popen([sys.executable, "-I", PROGRAM, str(directory)])
    wait_until((directory / "process.json").exists)
    command = psutil.Process(json.loads((directory / "process.json").read_text())["pid"])

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    assert process.poll() is None
    command.send_signal(signal.SIGTERM)
    process.wait(timeout=60)

    assert exit_code(directory) == -signal.SIGTERM


def test_command_has_its_own_session(directory):
    prepare(directory, *python("import os; print(os.getsid(0) == os.getpid())"))

    run(directory)

    assert (directory / "stdout.log").read_text() == "True\n"


def test_process_is_recorded_with_its_start_time(directory):
    prepare(directory, *python("import time; time.sleep(600)"))
    process = subprocess.Popen([sys.executable, "-I", PROGRAM, str(directory)])
    wait_until((directory / "process.json").exists)

    note = json.loads((directory / "process.json").read_text())

    command = psutil.Process(note["pid"])
    assert note["since_boot"] == pytest.approx(program.since_boot(command), abs=0.02)
    command.kill()
    process.wait(timeout=60)
