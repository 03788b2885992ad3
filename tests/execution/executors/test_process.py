"""The process executor: the contract, and what is specific to processes."""

import ast
import json
import os
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from django.test import Client

from artifacts import storing
from artifacts.checkpoints import latest_sound_checkpoint
from artifacts.kinds import ArtifactType, TagValue
from execution.executors import attempt as executor_attempts
from execution.executors import progress_bars, text_lines
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from metrics.models import MetricPoint
from runs import attempts, inputs
from runs.executors import CannotStart, WorkState
from runs.models import EventKind, FailureKind, Run, StopKind
from runs.status import RunStatus
from tests.concurrency import in_parallel
from tests.execution.executors.contract import (
    ExecutorContract,
    fresh,
    poll,
    poll_until,
    steps_of,
    work_until_step,
)
from tests.factories import (
    RecipeFactory,
    RunFactory,
    UserFactory,
    WorkerFactory,
    checkpoint,
    damage,
    running,
)
from tests.processes import lives
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

STEPPER = Path(__file__).with_name("stepper.py")


def stepper_recipe(**fields):
    return RecipeFactory(command=[sys.executable, str(STEPPER)], **fields)


class TestContract(ExecutorContract):
    LONG: ClassVar[dict[str, Any]] = {"max_steps": 100_000, "pause_seconds": 0.01}

    @pytest.fixture
    def executor(self):
        return ProcessExecutor()

    @pytest.fixture
    def another_executor(self):
        return ProcessExecutor()

    @pytest.fixture
    def recipe(self):
        return stepper_recipe()


@pytest.fixture
def executor():
    return ProcessExecutor()


def started(executor, script, **fields):
    """A started run of a Python script."""
    recipe = fields.pop("recipe", None) or RecipeFactory(script=script)
    run = running(recipe=recipe, total_steps=None, **fields)
    executor.start(run, run.worker)
    return run


def ended(executor, script, work=WorkState.FINISHED, **fields):
    """A run of a Python script that has ended in the state ``work``, and its status."""
    run = started(executor, script, **fields)
    work = poll_until(executor, run, work)
    return fresh(run), work


def messages(run, source=None):
    lines = run.log_lines.order_by("seq")
    return list(
        (lines.filter(source=source) if source else lines).values_list("message", flat=True)
    )


# --- how it ends -----------------------------------------------------------------------------


def test_nonzero_exit_code_is_a_failure(executor):
    _run, work = ended(executor, "raise SystemExit(2)", WorkState.FAILED)

    assert work.exit_code == 2
    assert "2" in str(work.reason)


def test_missing_command_is_a_failure_with_its_reason_in_the_log(executor):
    run = started(executor, "", recipe=RecipeFactory(command=["/no/such/program"]))

    work = poll_until(executor, run, WorkState.FAILED)

    assert work.exit_code == 127
    assert "/no/such/program" in messages(run)[0]
    assert run.log_lines.get().level == "ERROR"


def test_recipe_without_a_command_cannot_start(executor):
    recipe = RecipeFactory(executor="simulated", command=[])

    with pytest.raises(CannotStart):
        started(executor, "", recipe=recipe)


def test_dataset_that_a_script_has_reported_since_is_checked_at_the_start(executor):
    run = running(recipe=RecipeFactory(script="print(1)"), dataset="")
    inputs.log_inputs(run.pk, [{"name": "/etc/passwd", "digest": "1"}])

    with pytest.raises(CannotStart, match="TRAINHUB_DATASET_DIRS"):
        executor.start(fresh(run), run.worker)


def test_process_killed_by_a_signal_has_died_and_the_reason_names_it(executor):
    _run, work = ended(
        executor, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", WorkState.DIED
    )

    assert work.exit_code == -signal.SIGKILL
    assert "SIGKILL" in str(work.reason)


@pytest.mark.parametrize("code", [137, 143])
def test_exit_code_of_an_unrequested_signal_means_died(executor, code):
    _run, work = ended(executor, f"raise SystemExit({code})", WorkState.DIED)

    assert work.exit_code == code


def test_exit_is_never_mistaken_for_a_crash(executor):
    run = started(executor, "pass")
    attempt = Attempt.of(run)

    # A tight loop across the moment between the end of the process and its recorded exit code.
    ending = wait_until(attempt.ending, every=0)

    assert ending.returncode == 0


def test_killed_launcher_and_process_have_died_without_an_exit_code(executor):
    run = started(executor, "import time; time.sleep(600)")
    attempt = Attempt.of(run)
    process = wait_until(attempt.process)
    launcher = json.loads((attempt.directory / "launcher.json").read_text())["pid"]
    os.kill(launcher, signal.SIGKILL)
    assert poll(executor, run).state is WorkState.WORKING
    process.kill()

    work = poll_until(executor, run, WorkState.DIED)

    assert work.exit_code is None


def test_reused_pid_is_not_the_attempts_process(executor):
    run = started(executor, "import time; time.sleep(600)")
    attempt = Attempt.of(run)
    wait_until(attempt.process)
    note = attempt.directory / "process.json"
    content = json.loads(note.read_text())

    note.write_text(json.dumps({**content, "since_boot": content["since_boot"] - 3600}))

    assert attempt.process() is None


def test_script_that_exits_with_zero_when_stopped_has_not_finished(executor):
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "print('ready')\n"
        "time.sleep(600)"
    )
    run = started(executor, script)
    wait_until(lambda: poll(executor, run) and messages(run) == ["ready"])

    executor.stop(run, run.worker)

    assert poll_until(executor, run, WorkState.STOPPED).exit_code == 0


def test_script_that_had_reached_its_end_when_stopped_has_finished(executor):
    script = (
        "import json, os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "with open(os.environ['TRAINHUB_METRICS_FILE'], 'a') as metrics:\n"
        "    metrics.write(json.dumps({'step': 5, 'total_steps': 5}) + '\\n')\n"
        "time.sleep(600)"
    )
    run = started(executor, script)
    work_until_step(executor, run, 5)
    fresh(run).request_stop(StopKind.CANCEL, by=None)

    executor.stop(fresh(run), run.worker)

    assert poll_until(executor, run, WorkState.FINISHED).exit_code == 0


def test_rank_killed_under_a_launcher_has_died(executor):
    script = (
        "import sys\n"
        "print('E0105 08:00:00.000 1 api.py:869] failed (exitcode: -9) local_rank: 0 (pid: 7)',\n"
        "      file=sys.stderr)\n"
        "sys.exit(1)"
    )
    _run, work = ended(executor, script, WorkState.DIED)

    assert (work.exit_code, work.failure_kind) == (1, FailureKind.KILLED)
    assert "SIGKILL" in str(work.reason)


def test_memory_that_ran_out_is_the_kind_of_failure(executor):
    script = "raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')"
    _run, work = ended(executor, script, WorkState.FAILED)

    assert work.failure_kind == FailureKind.OUT_OF_MEMORY
    assert "RuntimeError: CUDA out of memory." in str(work.reason)


# --- stopping and killing --------------------------------------------------------------------


def test_process_is_asked_to_stop_once(executor):
    script = (
        "import signal, time\n"
        "def note(*_):\n"
        "    print('asked')\n"
        "signal.signal(signal.SIGTERM, note)\n"
        "print('ready')\n"
        "while True:\n"
        "    time.sleep(0.01)"
    )
    run = started(executor, script)
    wait_until(lambda: poll(executor, run) and "ready" in messages(run))

    executor.stop(run, run.worker)
    wait_until(lambda: poll(executor, run) and "asked" in messages(run))
    executor.stop(run, run.worker)
    ProcessExecutor().stop(run, run.worker)
    executor.kill(run, run.worker)
    poll_until(executor, run, WorkState.STOPPED)

    assert messages(run) == ["ready", "asked"]


def test_kill_also_ends_child_processes(executor):
    child = "import time; print('child', flush=True); time.sleep(600)"
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    run = started(executor, script)
    wait_until(lambda: poll(executor, run) and len(messages(run)) == 2)
    pid = int(next(message for message in messages(run) if message.isdecimal()))

    executor.kill(run, run.worker)

    assert not psutil.pid_exists(pid)


def test_attempt_killed_while_its_launcher_starts_never_runs(executor, tmp_path):
    witness = tmp_path / "ran"
    run = started(executor, f"open({str(witness)!r}, 'w'); import time; time.sleep(600)")

    executor.kill(run, run.worker)  # immediately: most likely before the launcher has started

    assert poll_until(executor, run, WorkState.DIED)
    assert Attempt.of(run)._processes() == []


def test_forgotten_run_has_no_process_and_no_files(executor):
    run = started(executor, "import time; time.sleep(600)")
    process = wait_until(Attempt.of(run).process)

    executor.forget(run)

    assert not lives(process)
    assert not Attempt.of(run).directory.parent.exists()


@pytest.mark.parametrize("fate", ["over", "elsewhere"])
def test_tidying_kills_processes_that_are_no_longer_needed(executor, fate):
    run = started(executor, "import time; time.sleep(600)")
    process = wait_until(Attempt.of(run).process)
    if fate == "over":
        run.transition(RunStatus.CANCELLED)
    else:
        attempts.recover(run, "Its worker died.")

    executor.tidy()

    assert not lives(process)


def test_tidying_leaves_runs_of_another_database_alone(executor):
    run = started(executor, "import time; time.sleep(600)")
    process = wait_until(Attempt.of(run).process)
    run_id = run.pk
    run.delete()

    executor.tidy()

    assert lives(process)
    executor_attempts.forget(run_id)


@pytest.mark.parametrize("rest", [["checkpoints", "step-1.pt"], []])
def test_attempt_whose_files_were_deleted_in_part_has_ended(rest):
    attempt = Attempt.of(running(recipe=RecipeFactory()))
    attempt.directory.mkdir(parents=True)
    if rest:
        path = attempt.directory.joinpath(*rest)
        path.parent.mkdir()
        path.touch()

    assert attempt.ending() is not None


def test_deletion_that_is_interrupted_leaves_no_part_of_an_attempt(executor, monkeypatch):
    run, _ = ended(executor, "pass")
    monkeypatch.setattr(executor_attempts.shutil, "rmtree", lambda *_, **__: None)

    Attempt.of(run).delete()

    assert not Attempt.of(run).is_launched
    assert executor_attempts.local_runs() == {run.pk: []}
    monkeypatch.undo()
    executor_attempts.forget(run.pk)
    assert executor_attempts.local_runs() == {}


def test_error_of_one_run_does_not_keep_others_from_being_tidied(executor, monkeypatch, caplog):
    bad, good = (started(executor, "import time; time.sleep(600)") for _ in range(2))
    process = wait_until(Attempt.of(good).process)
    bad.transition(RunStatus.CANCELLED)
    good.transition(RunStatus.CANCELLED)
    forget = executor_attempts.forget
    monkeypatch.setattr(
        executor_attempts, "forget", lambda run_id: forget(run_id) if run_id == good.pk else 1 / 0
    )
    monkeypatch.setattr(executor_attempts, "local_runs", lambda: {bad.pk: [], good.pk: []})

    executor.tidy()

    assert not lives(process)
    assert bad.pk in caplog.text
    monkeypatch.undo()
    executor_attempts.forget(bad.pk)


# --- output ----------------------------------------------------------------------------------


def test_stdout_and_stderr_become_lines_with_their_source(executor):
    run, _ = ended(executor, "import sys; print('out'); print('err', file=sys.stderr)")

    assert messages(run, "stdout") == ["out"]
    assert messages(run, "stderr") == ["err"]


def test_progress_bar_collapses_to_its_last_state(executor):
    script = (
        "import sys\n"
        "for n in range(101):\n"
        "    print(f'\\r{n}%', end='', file=sys.stderr)\n"
        "print(file=sys.stderr)\n"
        "print('after', file=sys.stderr)"
    )
    run, _ = ended(executor, script)

    assert messages(run) == ["100%", "after"]


def test_last_line_without_a_newline_is_ingested_at_the_end(executor):
    run, _ = ended(executor, "print('no newline', end='')")

    assert messages(run) == ["no newline"]


def test_large_output_is_ingested_exactly_once(executor):
    count = 30_000
    run, _ = ended(executor, f"for n in range({count}): print('line', n, 'x' * 20)")

    assert messages(run) == [f"line {n} " + "x" * 20 for n in range(count)]


def test_binary_output_does_not_stop_the_run(executor):
    script = "import sys; sys.stdout.buffer.write(b'a\\x00\\xff\\xfeb\\n'); print('after')"
    run, _ = ended(executor, script)

    assert messages(run)[1] == "after"


def test_invalid_metric_lines_are_logged_and_skipped(executor):
    script = (
        "import os\n"
        "lines = ['{\"step\": 1, \"loss\": 2.5}', 'nonsense', '[1]', '{\"step\": \"x\"}',\n"
        "         '{\"step\": 2, \"loss\": 1' + '0' * 400 + '}', '{\"step\": 3, \"loss\": NaN}']\n"
        "with open(os.environ['TRAINHUB_METRICS_FILE'], 'w') as metrics:\n"
        "    metrics.write('\\n'.join(lines) + '\\n')"
    )
    run, _ = ended(executor, script)

    assert steps_of(run, "loss") == [1, 3]
    assert run.metrics == {"loss": "NaN"}
    assert run.log_lines.filter(source="metrics", level="WARNING").count() == 4


def test_traceback_is_one_line_of_level_error(executor):
    script = "print('before', file=__import__('sys').stderr)\nraise ValueError('one')"
    run, work = ended(executor, script, WorkState.FAILED)

    before, traceback = run.log_lines.filter(source="stderr").order_by("seq")
    assert (before.level, traceback.level) == ("INFO", "ERROR")
    assert traceback.message.startswith("Traceback")
    assert traceback.message.endswith("ValueError: one")
    assert "ValueError: one" in str(work.reason)


def test_traceback_that_arrives_in_two_parts_is_one_line(executor, tmp_path, monkeypatch):
    monkeypatch.setattr(text_lines, "QUIET_SECONDS", 600.0)
    go_on = tmp_path / "go on"
    script = (
        "import pathlib, sys, time\n"
        "print('ready')\n"
        "print('Traceback (most recent call last):', file=sys.stderr, flush=True)\n"
        f"while not pathlib.Path({str(go_on)!r}).exists():\n"
        "    time.sleep(0.01)\n"
        "print('  File\\nValueError: one\\nafter', file=sys.stderr)\n"
    )
    run = started(executor, script)
    stderr = Attempt.of(run).directory / "stderr.log"
    wait_until(lambda: stderr.exists() and stderr.read_bytes())
    poll(executor, run)
    go_on.touch()

    poll_until(executor, run, WorkState.FINISHED)

    assert messages(run, "stderr") == [
        "Traceback (most recent call last):\n  File\nValueError: one",
        "after",
    ]


@pytest.mark.parametrize("length", [300_000, 17 * 1024 * 1024])
def test_traceback_with_a_very_long_message_is_ingested(executor, length):
    script = f"print('before', flush=True); raise ValueError('x' * {length})"
    run, _work = ended(executor, script, WorkState.FAILED)

    assert messages(run, "stderr")[0].startswith("Traceback")
    assert any("characters cut]" in message for message in messages(run, "stderr"))


def test_moving_bar_is_shown_before_its_line_ends(executor, monkeypatch):
    monkeypatch.setattr(progress_bars, "SHOW_EVERY_SECONDS", 0.05)
    script = (
        "import sys, time\n"
        "for n in range(100_000):\n"
        "    print(f'\\r{n}%', end='', file=sys.stderr, flush=True)\n"
        "    time.sleep(0.01)"
    )
    run = started(executor, script)

    wait_until(lambda: poll(executor, run) and len(messages(run)) >= 3)

    shown = [int(message.rstrip("%")) for message in messages(run)]
    assert shown == sorted(set(shown))


def test_output_is_decoded_in_the_recipes_encoding(executor):
    script = "import sys; sys.stdout.buffer.write('訓練'.encode('big5') + b'\\n')"
    recipe = RecipeFactory(script=script, encoding="big5")

    run, _ = ended(executor, script, recipe=recipe)

    assert messages(run) == ["訓練"]


def test_ranks_and_levels_of_the_output_are_kept(executor):
    run, _ = ended(executor, "print('[rank1]:[E1128 13:48:58.260 x.cpp:632] watchdog')")

    line = run.log_lines.get()
    assert (line.rank, line.level) == (1, "ERROR")


def test_kind_of_problem_is_said_once_even_if_the_worker_restarts(executor):
    script = (
        "import os, time\n"
        "with open(os.environ['TRAINHUB_METRICS_FILE'], 'w', buffering=1) as metrics:\n"
        "    for step in range(100_000):\n"
        '        metrics.write(\'{"step": %d, "note": "text"}\\n\' % step)\n'
        "        time.sleep(0.01)"
    )
    run = started(executor, script)
    work_until_step(executor, run, 3)

    work_until_step(ProcessExecutor(), run, fresh(run).step + 3)

    (message,) = messages(run, "metrics")
    assert re.search(r"\b1\b.*\bnote\b", message)


def test_line_numbers_continue_after_the_worker_restarts(executor):
    script = (
        "import os, time\n"
        "with open(os.environ['TRAINHUB_METRICS_FILE'], 'w', buffering=1) as metrics:\n"
        '    metrics.write(\'{"step": 1}\\n{"step": 2}\\n\')\n'
        "    print('ready', flush=True)\n"
        "    while not os.path.exists('go on'):\n"
        "        time.sleep(0.01)\n"
        "    metrics.write('nonsense\\n')"
    )
    run = started(executor, script)
    work_until_step(executor, run, 2)
    (Attempt.of(run).directory / "go on").touch()

    poll_until(ProcessExecutor(), run, WorkState.FINISHED)

    (message,) = messages(run, "metrics")
    assert re.search(r"\b3\b.*\bnonsense\b", message)


class Metrics:
    """Writes the metrics file of a run whose process waits, and has it read."""

    def __init__(self, executor, **fields):
        self.executor = executor
        recipe = RecipeFactory(script="import signal; signal.pause()", **fields)
        self.run = started(executor, "", recipe=recipe)
        self.path = Attempt.of(self.run).directory / "metrics.jsonl"

    def write(self, content, mode="wb"):
        with self.path.open(mode) as file:
            file.write(content)
        poll(self.executor, self.run)

    def points(self, key="loss"):
        stored = MetricPoint.objects.filter(series__run=self.run, series__key=key)
        return list(stored.order_by("step", "timestamp_ms").values_list("step", "value"))

    def said(self):
        return messages(self.run, "metrics")

    def end(self):
        self.executor.kill(self.run, self.run.worker)
        poll_until(self.executor, self.run, WorkState.DIED)


@pytest.fixture
def metrics(executor):
    writer = Metrics(executor)
    yield writer
    writer.end()


def rows(steps, loss=0.5):
    return b"".join(b'{"step": %d, "loss": %g}\n' % (step, loss) for step in steps)


def test_long_line_of_metrics_that_is_half_written_is_left_for_later(metrics):
    suffix = "/norm" * 40
    line = json.dumps({"step": 1, **{f"layer_{n}{suffix}": n for n in range(700)}}).encode()
    half = text_lines.LINE_LIMIT_BYTES + 1

    metrics.write(line[:half])
    os.utime(metrics.path, (1_700_000_000, 1_700_000_000))
    poll(metrics.executor, metrics.run)
    metrics.write(line[half:] + b"\n", "ab")

    assert len(line) > half
    assert metrics.points(f"layer_699{suffix}") == [(1, 699.0)]
    assert metrics.said() == []


def test_metrics_file_that_is_written_anew_is_read_again_and_that_is_said_once(metrics):
    metrics.write(rows(range(10)))
    metrics.write(rows(range(10, 18), 0.25))
    metrics.write(rows([18]) + b"nonsense\n")

    assert [step for step, _loss in metrics.points()] == list(range(19))
    first, second = metrics.said()
    assert "metrics.jsonl" in first
    assert re.search(r"\b2\b.*\bnonsense\b", second)


def test_metrics_file_that_is_written_anew_and_is_longer_loses_no_point(metrics):
    metrics.write(rows(range(3)))
    metrics.path.unlink()
    metrics.write(rows(range(3, 50), 0.125))

    assert [step for step, _loss in metrics.points()] == list(range(50))
    (said,) = metrics.said()
    assert "written anew" in said


def test_points_that_a_metrics_file_written_anew_repeats_are_there_once(metrics):
    metrics.write(rows(range(10)))
    metrics.write(b"")
    metrics.write(rows(range(5)))
    metrics.write(rows(range(5, 12)), "ab")

    assert metrics.points() == [(step, 0.5) for step in range(12)]


def test_metrics_are_decoded_in_the_recipes_encoding(executor):
    metrics = Metrics(executor, encoding="big5")
    line = '{"step": %d, "損失": 0.5, "checkpoint": "模型.bin"}\n'

    metrics.write((line % 1).encode("big5") + (line % 2).encode())

    assert metrics.points("損失") == [(1, 0.5), (2, 0.5)]
    assert metrics.said() == []
    notes = fresh(metrics.run).executor_state["read"]["1"]
    assert notes["declared"] == {"模型.bin": 2}
    metrics.end()


def test_metrics_that_are_not_utf8_are_decoded_like_output(metrics):
    metrics.write('{"step": 1, "训练损失": 0.5}\n'.encode("gbk"))

    assert metrics.points("训练损失") == [(1, 0.5)]


def test_later_of_two_values_at_one_step_is_the_latest(executor):
    script = (
        "import os\n"
        "with open(os.environ['TRAINHUB_METRICS_FILE'], 'w') as metrics:\n"
        '    metrics.write(\'{"step": 10, "loss": 0.9}\\n{"step": 10, "loss": 0.8}\\n\')'
    )
    run, _ = ended(executor, script)

    assert run.metrics == {"loss": 0.8}
    assert steps_of(run, "loss") == [10, 10]


def test_evaluation_file_becomes_an_artifact(executor):
    script = (
        "import os, pathlib\n"
        "folder = pathlib.Path(os.environ['TRAINHUB_OUTPUT_DIR'])\n"
        "(folder / 'evaluation.json').write_text('{\"bleu\": 32.5}')"
    )
    run, _ = ended(executor, script)

    with run.artifacts.get(type=ArtifactType.EVALUATION).open() as file:
        assert json.load(file) == {"bleu": 32.5}


WRITE_EVALUATION = (
    "import os, pathlib, time\n"
    "path = pathlib.Path(os.environ['TRAINHUB_OUTPUT_DIR']) / 'evaluation.json'\n"
    "path.write_text({first!r})\n"
    "while not os.path.exists('go on'):\n"
    "    time.sleep(0.01)\n"
    "path.write_text({second!r})\n"
)


def evaluation_of(run):
    with run.artifacts.get(type=ArtifactType.EVALUATION).open() as file:
        return file.read()


def test_cut_off_evaluation_does_not_replace_a_good_one_and_is_said(executor):
    script = WRITE_EVALUATION.format(first='{"bleu": 32.5}', second='{"bleu": 3')
    run = started(executor, script)
    evaluations = run.artifacts.filter(type=ArtifactType.EVALUATION)
    wait_until(lambda: poll(executor, run) and evaluations.exists())
    (Attempt.of(run).directory / "go on").touch()

    poll_until(executor, run, WorkState.FINISHED)

    assert evaluation_of(run) == b'{"bleu": 32.5}'
    line = run.log_lines.get(source="evaluation")
    assert line.level == "WARNING"


def test_numbers_of_an_evaluation_that_are_not_finite_are_stored_as_text_and_said(executor):
    script = WRITE_EVALUATION.replace("while", "while False and").format(
        first="", second='{"loss": NaN, "all": [Infinity, 1]}'
    )
    run, _ = ended(executor, script)

    assert json.loads(evaluation_of(run)) == {"loss": "NaN", "all": ["Infinity", 1]}
    assert run.log_lines.filter(source="evaluation", level="WARNING").count() == 1


@pytest.mark.parametrize(
    "write",
    [
        "path.write_text('null')",
        "path.write_text('[' * 480 + 'NaN' + ']' * 480)",
        "path.write_text('[' * 100_000)",
        "path.symlink_to(path)",
        "os.mkfifo(path)",
    ],
    ids=["null", "deep", "very-deep", "loop", "pipe"],
)
def test_odd_evaluation_does_not_stop_the_run(executor, write):
    script = f"import os, pathlib; path = pathlib.Path('evaluation.json'); {write}"

    run, _ = ended(executor, script)

    assert run.artifacts.filter(type=ArtifactType.EVALUATION).count() <= 1


# --- environment -----------------------------------------------------------------------------


@pytest.fixture
def environment(executor, monkeypatch):
    """The environment of a process whose worker has secrets."""
    monkeypatch.setenv("TRAINHUB_SECRET_KEY", "hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db/trainhub")
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    recipe = RecipeFactory(script=script, environment={"NCCL_DEBUG": "INFO", "HOME": "/other"})
    run, _ = ended(executor, "", recipe=recipe)
    return run, json.loads(messages(run)[0])


def test_environment_hides_the_workers_secrets(environment):
    _run, variables = environment

    assert not {"TRAINHUB_SECRET_KEY", "DATABASE_URL", "PGPASSWORD"} & variables.keys()
    assert not any("hunter2" in value for value in variables.values())


def test_environment_is_the_workers_overridden_by_the_recipes(environment):
    _run, variables = environment

    assert variables["CUDA_VISIBLE_DEVICES"] == "3"
    assert (variables["NCCL_DEBUG"], variables["HOME"]) == ("INFO", "/other")


def test_secret_reaches_the_training_alone(executor):
    recipe = RecipeFactory(script="import os; print(os.environ['HF_TOKEN'][::-1])")
    recipe.set_secrets({"HF_TOKEN": "hf_drowssap"})
    recipe.save()

    run, _ = ended(executor, "", recipe=recipe)

    assert messages(run) == ["password_fh"]
    launch = Attempt.of(run).directory / "launch.json"
    assert "hf_drowssap" in launch.read_text()
    assert launch.stat().st_mode & 0o777 == 0o600
    assert launch.parent.stat().st_mode & 0o077 == 0


def test_environment_has_the_variables_of_the_script_contract(environment):
    run, variables = environment

    assert variables["TRAINHUB_RUN_ID"] == run.pk
    assert variables["TRAINHUB_PROJECT_ID"] == run.project_id
    assert variables["TRAINHUB_ATTEMPT"] == "1"
    assert "TRAINHUB_RESUME_FROM" not in variables
    assert set(variables) >= {
        "TRAINHUB_CONFIG",
        "TRAINHUB_METRICS_FILE",
        "TRAINHUB_CHECKPOINT_DIR",
        "TRAINHUB_OUTPUT_DIR",
    }


def test_placeholders_of_the_command_are_replaced(executor, settings):
    recipe = RecipeFactory(command=["{python}", "-c", "print('{repository}')"])

    run, _ = ended(executor, "", recipe=recipe)

    assert messages(run) == [str(settings.BASE_DIR)]


# --- checkpoints -----------------------------------------------------------------------------


def saving(body):
    """A script that executes ``body`` with ``folder``, the checkpoint folder."""
    return (
        "import os, pathlib, time\n"
        "folder = pathlib.Path(os.environ['TRAINHUB_CHECKPOINT_DIR'])\n"
        f"{body}\n"
    )


def checkpoints_of(run):
    return {artifact.step: artifact for artifact in run.artifacts.checkpoints()}


def read(artifact):
    with artifact.open() as file:
        return file.read()


def test_file_with_a_temporary_name_is_no_checkpoint(executor):
    script = saving(
        "for name in ('.step-1.pt', 'step-2.pt.tmp', 'step-3.pt.part', 'step-4.pt'):\n"
        "    (folder / name).write_text(name)"
    )

    run, _ = ended(executor, script)

    assert list(checkpoints_of(run)) == [4]


def test_checkpoint_that_changes_is_ingested_again(executor):
    script = saving(
        "(folder / 'step-5.pt').write_text('first')\n"
        "while not (folder.parent / 'go').exists():\n"
        "    time.sleep(0.01)\n"
        "(folder / 'step-5.pt').write_text('second')"
    )
    run = started(executor, script)
    first = wait_until(lambda: poll(executor, run) and checkpoints_of(run).get(5))
    assert read(first) == b"first"
    (Attempt.of(run).directory / "go").touch()

    poll_until(executor, run, WorkState.FINISHED)

    second = checkpoints_of(run)[5]
    assert second.pk == first.pk
    assert read(second) == b"second"


def test_tagged_checkpoint_is_not_overwritten(executor):
    script = saving(
        "(folder / 'step-5.pt').write_text('first')\n"
        "while not (folder.parent / 'go').exists():\n"
        "    time.sleep(0.01)\n"
        "(folder / 'step-5.pt').write_text('second')"
    )
    run = started(executor, script)
    tagged = wait_until(lambda: poll(executor, run) and checkpoints_of(run).get(5))
    tagged.tag(TagValue.RELEASED, notes="", by=None)
    (Attempt.of(run).directory / "go").touch()

    poll_until(executor, run, WorkState.FINISHED)

    tagged.refresh_from_db()
    assert read(tagged) == b"first"
    assert run.artifacts.checkpoints().count() == 2


def test_incomplete_file_of_a_killed_process_is_a_damaged_checkpoint(executor, monkeypatch):
    monkeypatch.setattr("execution.executors.found_checkpoint.SETTLED_SECONDS", 1.0)
    script = saving(
        "(folder / 'step-1.pt').write_text('whole')\n"
        "os.utime(folder / 'step-1.pt', (time.time() - 60,) * 2)\n"
        "with (folder / 'step-2.pt').open('w') as file:\n"
        "    while True:\n"
        "        file.write('half of it'); file.flush(); time.sleep(0.01)"
    )
    run = started(executor, script)
    wait_until(lambda: poll(executor, run) and checkpoints_of(run))

    executor.kill(run, run.worker)
    poll_until(executor, run, WorkState.DIED)

    assert checkpoints_of(run)[2].damage
    assert latest_sound_checkpoint(run).step == 1


def test_folder_is_one_checkpoint_and_restored_as_a_folder_on_resume(executor):
    script = saving(
        "source = os.environ.get('TRAINHUB_RESUME_FROM')\n"
        "if source:\n"
        "    found = {str(p.relative_to(source)): p.read_text()\n"
        "             for p in sorted(pathlib.Path(source).rglob('*')) if p.is_file()}\n"
        "    print(pathlib.Path(source).name, found)\n"
        "else:\n"
        "    for name in ('model.bin', 'optimizer/state.bin'):\n"
        "        path = folder / 'checkpoint-500' / name\n"
        "        path.parent.mkdir(parents=True, exist_ok=True)\n"
        "        path.write_text(name)"
    )
    first, _ = ended(executor, script)
    kept = checkpoints_of(first)[500]
    assert kept.problem() is None

    second, _ = ended(
        executor,
        script,
        recipe=first.recipe,
        project=first.project,
        resumed_from_id=kept.pk,
        start_step=500,
        step=500,
    )

    assert messages(second) == [
        "checkpoint-500 {'model.bin': 'model.bin', 'optimizer/state.bin': 'optimizer/state.bin'}"
    ]


def test_damaged_checkpoint_is_skipped_and_logged(executor):
    run = running(recipe=stepper_recipe(), hyperparameters={"max_steps": 50}, step=40)
    checkpoint(run, step=20, content=b'{"step": 20}')
    damaged = checkpoint(run, step=40)
    damage(damaged)

    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    assert steps_of(run) == list(range(21, 51))
    assert damaged.pk in messages(run, "trainhub")[0]
    assert run.events.get(kind=EventKind.REWOUND)
    assert latest_sound_checkpoint(fresh(run)).step == 50


def test_damaged_checkpoint_is_replaced_when_its_step_is_repeated(executor):
    run = running(recipe=stepper_recipe(), hyperparameters={"max_steps": 50}, step=40)
    damaged = checkpoint(run, step=40)
    damage(damaged)

    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    damaged.refresh_from_db()
    assert damaged.problem() is None


def test_attempt_with_missing_files_has_died(executor):
    run = started(executor, "import time; print('ready'); time.sleep(600)")
    wait_until(lambda: poll(executor, run) and messages(run))

    executor.forget(run)

    assert poll(executor, run).state is WorkState.DIED


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("step", ["put_checkpoint", "sound_copies", "put_evaluation"])
def test_bytes_are_copied_and_read_without_a_row_lock(executor, monkeypatch, step):
    evaluation = "pathlib.Path(os.environ['TRAINHUB_OUTPUT_DIR'], 'evaluation.json')"
    body = f"(folder / 'step-5.pt').write_text('weights'); {evaluation}.write_text('{{}}')"
    run = started(executor, saving(body))
    unlocked = []

    def do_slowly(*arguments, **options):
        unlocked.extend(in_parallel(lambda: Run.objects.filter(pk=run.pk).update(priority=1)))
        return do(*arguments, **options)

    do = getattr(storing, step)
    monkeypatch.setattr(storing, step, do_slowly)

    poll_until(executor, run, WorkState.FINISHED)

    assert unlocked == [1]
    assert list(checkpoints_of(run)) == [5]


# --- several attempts ------------------------------------------------------------------------


def test_next_attempt_kills_the_previous_one_and_ingests_its_output(executor):
    run = running(recipe=stepper_recipe(), hyperparameters=TestContract.LONG, total_steps=100_000)
    executor.start(run, run.worker)
    work_until_step(executor, run, 5)
    process = Attempt.of(run).process()
    # No more polls: the next attempt ingests the rest of this one's output.
    wait_until((Attempt.of(run).directory / "checkpoints" / "step-0020.bin").exists)
    other = WorkerFactory()
    attempts.recover(fresh(run), "Its worker died.")
    fresh(run).claim(other)

    executor.start(fresh(run), other)

    rewound_to = fresh(run).step
    work_until_step(executor, run, rewound_to + 5)
    pids = run.series.get(key="pid").points.order_by("step").values_list("value", flat=True)
    second = Attempt.of(fresh(run)).process().pid
    assert not lives(process)
    assert steps_of(run) == list(range(1, len(pids) + 1))
    assert rewound_to >= 10
    assert set(pids[:rewound_to]) == {process.pid}
    assert set(pids[rewound_to:]) == {second}


def test_attempt_without_a_checkpoint_reports_the_first_step_again_once(executor):
    script = (
        "import json, os, signal\n"
        "with open(os.environ['TRAINHUB_METRICS_FILE'], 'a') as file:\n"
        "    for step in range(4):\n"
        "        value = float(os.environ['TRAINHUB_ATTEMPT'])\n"
        "        print(json.dumps({'step': step, 'loss': value}), file=file)\n"
        "signal.pause()"
    )
    run = running(recipe=RecipeFactory(script=script), total_steps=None)
    for attempt in (1, 2):
        executor.start(fresh(run), run.worker)
        work_until_step(executor, run, 3)
        executor.kill(fresh(run), run.worker)
        poll_until(executor, run, WorkState.DIED)
        if attempt == 1:
            attempts.recover(fresh(run), "It died.")
            fresh(run).claim(run.worker)

    points = run.series.get(key="loss").points.order_by("step").values_list("step", "value")
    assert list(points) == [(step, 2.0) for step in range(4)]


def test_lines_of_every_attempt_are_ingested_once(executor):
    run = running(recipe=stepper_recipe(), hyperparameters=TestContract.LONG, total_steps=100_000)
    worker = run.worker
    executor.start(run, worker)
    work_until_step(executor, run, 25)
    executor.kill(run, worker)
    assert poll(executor, run).state is WorkState.DIED
    first = messages(run, "stdout")
    attempts.recover(fresh(run), "It died.")
    fresh(run).claim(worker)

    executor.start(fresh(run), worker)
    work_until_step(executor, run, len(first) + 10)
    executor.kill(fresh(run), worker)
    assert poll(executor, run).state is WorkState.DIED

    lines = messages(run, "stdout")
    second = lines[len(first) :]
    start = int(second[0].removeprefix("attempt 2 from step "))
    assert lines[: len(first)] == first
    assert first == ["attempt 1 from step 0", *(f"step {n}" for n in range(1, len(first)))]
    assert second[1:] == [f"step {n}" for n in range(start + 1, start + len(second))]
    assert steps_of(run)[-1] - start in {len(second) - 1, len(second)}


def test_queries_of_an_idle_poll_do_not_grow_with_the_checkpoints(
    executor, django_assert_max_num_queries
):
    script = saving(
        "for n in range(20):\n    (folder / f'step-{n}.pt').write_text('x')\ntime.sleep(600)"
    )
    run = started(executor, script)
    wait_until(lambda: poll(executor, run) and len(checkpoints_of(run)) == 20)
    run = fresh(run)

    with django_assert_max_num_queries(5):
        executor.poll(run, run.worker)


def test_tidying_leaves_runs_without_local_files_alone(executor):
    run = RunFactory(status=RunStatus.COMPLETED)

    executor.tidy()

    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED


# --- MLflow clients in a script --------------------------------------------------------------

PRINT_MLFLOW_VARIABLES = (
    "import os; print({name: text for name, text in os.environ.items() if 'MLFLOW' in name})"
)


def mlflow_variables(run):
    return ast.literal_eval(messages(run, "stdout")[0])


def test_script_gets_its_run_in_the_variables_of_mlflow_clients(executor, settings):
    run, _ = ended(executor, PRINT_MLFLOW_VARIABLES)

    assert mlflow_variables(run) == {
        "MLFLOW_TRACKING_URI": settings.PUBLIC_URL,
        "MLFLOW_RUN_ID": run.pk,
    }


def test_script_gets_a_token_of_the_runs_creator_until_the_run_ends(executor, settings):
    settings.OPEN_MODE = False
    user = UserFactory()
    run, _ = ended(executor, PRINT_MLFLOW_VARIABLES, created_by=user)
    token = mlflow_variables(run)["MLFLOW_TRACKING_TOKEN"]
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/projects/{run.project_id}/runs/{run.pk}"

    assert Client(SERVER_NAME="localhost").get(path, headers=headers).status_code == 200
    assert stat.S_IMODE((Attempt.of(run).directory / "launch.json").stat().st_mode) == 0o600
    fresh(run).transition(RunStatus.COMPLETED)
    assert Client(SERVER_NAME="localhost").get(path, headers=headers).status_code == 401


def test_recipe_may_give_its_script_another_token(executor, settings):
    settings.OPEN_MODE = False
    recipe = RecipeFactory(
        script=PRINT_MLFLOW_VARIABLES, environment={"MLFLOW_TRACKING_TOKEN": "th_other"}
    )
    run, _ = ended(executor, "", recipe=recipe, created_by=UserFactory())

    assert mlflow_variables(run)["MLFLOW_TRACKING_TOKEN"] == "th_other"
