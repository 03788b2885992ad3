"""examples/char_lm as TrainHub runs it: process, environment, files, and exit code."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "char_lm"))

from checkpoint import Checkpoint

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "char_lm" / "train.py"
DOCUMENTED_MODULES = (
    "argparse collections datetime decimal difflib functools heapq json logging pathlib random "
    "statistics string textwrap"
)
DEADLINE_SECONDS = 60
# A model that runs hundreds of steps in less time than Python takes to start.
SMALL: dict[str, Any] = {
    "batch_size": 32,
    "context_length": 4,
    "embedding_dim": 8,
    "hidden_dim": 32,
    "log_every": 1,
}


def natural_text() -> str:
    """Return 20,000 characters of human-written text: docstrings of the standard library."""
    texts: dict[str, None] = {}  # docstrings shared by several objects count once
    for name in DOCUMENTED_MODULES.split():
        module = importlib.import_module(name)
        members = [value for _, value in sorted(vars(module).items()) if inspect.isclass(value)]
        for documented in (module, *members):
            texts[inspect.getdoc(documented) or ""] = None
    return "\n\n".join(texts)[:20_000]


@dataclass
class Run:
    """The folder of one run, laid out as TrainHub does."""

    directory: Path
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    dataset: Any = None
    resume_from: Path | None = None

    @property
    def metrics_file(self) -> Path:
        return self.directory / "metrics.jsonl"

    @property
    def checkpoint_dir(self) -> Path:
        return self.directory / "saved"

    def start(self) -> subprocess.Popen[bytes]:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "config.json"
        settings = {
            "run_id": "run_1",
            "project_id": "proj_1",
            "model": "char-lm",
            "dataset": self.dataset,
            "hyperparameters": self.hyperparameters,
            "resources": {"gpu_count": 0},
        }
        config.write_text(json.dumps(settings), encoding="utf-8")
        environment = _environment_without_trainhub() | {
            "TRAINHUB_CONFIG": str(config),
            "TRAINHUB_METRICS_FILE": str(self.metrics_file),
            "TRAINHUB_CHECKPOINT_DIR": str(self.checkpoint_dir),
            "TRAINHUB_OUTPUT_DIR": str(self.directory / "output"),
        }
        if self.resume_from:
            environment["TRAINHUB_RESUME_FROM"] = str(self.resume_from)
        return _start(self.directory, environment)

    def finish(self) -> subprocess.CompletedProcess[str]:
        return _finish(self.start())

    def interrupt(self, number: signal.Signals, after_step: int) -> tuple[int, str]:
        """Send a signal once ``after_step`` is reported; return the exit code and the log."""
        process = self.start()
        self.wait_for_step(after_step, process)
        process.send_signal(number)
        result = _finish(process)
        return result.returncode, result.stdout

    def wait_for_step(self, step: int, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.metrics_file.exists() or self.reported_steps() < step:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def reported_steps(self) -> int:
        return self.metrics_file.read_bytes().count(b"\n")

    def metrics(self) -> list[dict[str, float]]:
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def evaluation(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(
            (self.directory / "output" / "evaluation.json").read_text(encoding="utf-8")
        )
        return content

    def checkpoints(self) -> list[Path]:
        return sorted(self.checkpoint_dir.glob("step-*.npz"))

    def checkpoint(self, step: int) -> Path:
        return self.checkpoint_dir / f"step-{step:08}.npz"


def _environment_without_trainhub() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TRAINHUB_")}


def _start(cwd: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _finish(process: subprocess.Popen[bytes]) -> subprocess.CompletedProcess[str]:
    try:
        stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    # Decode here: text mode would turn the carriage returns of the progress bar into newlines.
    return subprocess.CompletedProcess(
        process.args, process.returncode, stdout.decode(), stderr.decode()
    )


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(natural_text(), encoding="utf-8")
    return str(path)


@dataclass
class FinishedRun:
    run: Run
    result: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Return a finished run with the default hyperparameters: 400 steps, a few seconds."""
    directory = tmp_path_factory.mktemp("finished")
    (directory / "text.txt").write_text(natural_text(), encoding="utf-8")
    run = Run(directory / "run", dataset=str(directory / "text.txt"))
    return FinishedRun(run, run.finish())


def test_finished_run_exits_with_zero_and_empty_stderr(finished: FinishedRun) -> None:
    assert (finished.result.returncode, finished.result.stderr) == (0, "")


def test_default_training_predicts_held_out_text_far_better_than_unigrams(
    finished: FinishedRun,
) -> None:
    evaluation = finished.run.evaluation()

    assert evaluation["eval_loss"] < 0.8 * evaluation["unigram_loss"]


def test_evaluation_file_describes_the_last_step(finished: FinishedRun) -> None:
    evaluation = finished.run.evaluation()

    assert evaluation.keys() == {
        "step",
        "eval_loss",
        "eval_perplexity",
        "unigram_loss",
        "sample",
    }
    assert evaluation["step"] == 400
    assert evaluation["eval_perplexity"] == pytest.approx(np.exp(evaluation["eval_loss"]))
    assert len(evaluation["sample"]) == 200


def test_metrics_lines_are_flat_numbers_at_increasing_steps(finished: FinishedRun) -> None:
    lines = finished.run.metrics()

    assert [line["step"] for line in lines] == list(range(10, 401, 10))
    assert all(type(value) in (int, float) for line in lines for value in line.values())
    assert {line["total_steps"] for line in lines} == {400}
    assert all(abs(line["timestamp"] - time.time()) < 3_600 for line in lines)
    assert lines[0].keys() == {
        "step",
        "timestamp",
        "total_steps",
        "train_loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
    }
    assert {"eval_loss", "eval_perplexity"} <= lines[-1].keys()


def test_log_has_a_line_every_ten_steps(finished: FinishedRun) -> None:
    pattern = r"step (\d+)/400 - loss=\d+\.\d+ lr=\S+ tokens/s=\d+"

    steps = [int(step) for step in re.findall(pattern, finished.result.stdout)]

    assert steps == list(range(10, 401, 10))


def test_checkpoints_are_complete_and_saved_every_hundred_steps(finished: FinishedRun) -> None:
    paths = finished.run.checkpoints()

    assert [Checkpoint.load(path).step for path in paths] == [100, 200, 300, 400]
    assert sorted(finished.run.checkpoint_dir.iterdir()) == paths


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_a_checkpoint_of_the_step_reached(
    tmp_path: Path, text_file: str, number: signal.Signals, exit_code: int
) -> None:
    run = Run(tmp_path / "run", SMALL | {"max_steps": 1_000_000}, text_file)

    code, log = run.interrupt(number, after_step=20)

    assert code == exit_code
    step = Checkpoint.load(run.checkpoints()[-1]).step
    assert step == run.metrics()[-1]["step"]
    assert log.endswith(f"{number.name}: stopped at step {step}/1000000, checkpoint saved\n")


def test_interrupted_and_resumed_run_equals_uninterrupted_run(
    tmp_path: Path, text_file: str
) -> None:
    interrupted = Run(tmp_path / "a", SMALL | {"max_steps": 1_000_000}, text_file)
    interrupted.interrupt(signal.SIGTERM, after_step=37)
    saved = interrupted.checkpoints()[-1]
    last = Checkpoint.load(saved).step + 40

    resumed = Run(tmp_path / "b", SMALL | {"max_steps": last}, text_file, resume_from=saved)
    uninterrupted = Run(tmp_path / "c", SMALL | {"max_steps": last}, text_file)

    assert resumed.finish().returncode == 0
    assert uninterrupted.finish().returncode == 0
    assert [line["step"] for line in resumed.metrics()] == list(range(last - 39, last + 1))
    assert resumed.checkpoint(last).read_bytes() == uninterrupted.checkpoint(last).read_bytes()
    assert resumed.evaluation() == uninterrupted.evaluation()


def test_run_resumed_halfway_equals_run_of_all_steps(tmp_path: Path, finished: FinishedRun) -> None:
    dataset = finished.run.dataset
    first = Run(tmp_path / "first", {"max_steps": 200}, dataset)
    assert first.finish().returncode == 0

    second = Run(tmp_path / "second", {}, dataset, resume_from=first.checkpoint(200))
    assert second.finish().returncode == 0

    assert second.checkpoint(400).read_bytes() == finished.run.checkpoint(400).read_bytes()


def test_resumed_finished_run_is_evaluated_again_and_exits_with_zero(
    tmp_path: Path, finished: FinishedRun
) -> None:
    saved = finished.run.checkpoint(400)
    run = Run(tmp_path / "run", {}, finished.run.dataset, resume_from=saved)

    result = run.finish()

    assert result.returncode == 0
    assert run.evaluation() == finished.run.evaluation()
    assert run.checkpoint(400).read_bytes() == saved.read_bytes()


def test_killed_run_leaves_only_complete_checkpoints(tmp_path: Path, text_file: str) -> None:
    hyperparameters = SMALL | {"max_steps": 1_000_000, "checkpoint_every": 1}
    run = Run(tmp_path / "run", hyperparameters, text_file)

    code, _ = run.interrupt(signal.SIGKILL, after_step=15)

    assert code == -signal.SIGKILL
    steps = [Checkpoint.load(path).step for path in run.checkpoints()]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 14
    # A partially written file keeps its leading dot, which tells it from a checkpoint.
    others = set(run.checkpoint_dir.iterdir()) - set(run.checkpoints())
    assert all(path.name.startswith(".") for path in others)


def test_script_without_trainhub_writes_to_the_current_folder(
    tmp_path: Path, text_file: str
) -> None:
    settings = {"dataset": "text.txt", "hyperparameters": SMALL | {"max_steps": 5}}
    (tmp_path / "my.json").write_text(json.dumps(settings), encoding="utf-8")

    result = _finish(_start(tmp_path, _environment_without_trainhub(), "--config", "my.json"))

    assert (result.returncode, result.stderr) == (0, "")
    written = {path.name for path in tmp_path.iterdir()} - {"text.txt", "my.json"}
    assert written == {"metrics.jsonl", "checkpoints", "evaluation.json"}


def test_unknown_hyperparameter_is_logged_and_ignored(tmp_path: Path, text_file: str) -> None:
    run = Run(tmp_path / "run", SMALL | {"max_steps": 1, "lora_rank": 8}, text_file)

    result = run.finish()

    assert result.returncode == 0
    assert "warning: unknown hyperparameter 'lora_rank' is ignored" in result.stdout


def test_progress_bar_is_drawn_on_stderr_when_enabled(tmp_path: Path, text_file: str) -> None:
    run = Run(tmp_path / "run", SMALL | {"max_steps": 4, "progress_bar": True}, text_file)

    result = run.finish()

    assert result.returncode == 0
    assert result.stderr.count("\r") == 4
    assert result.stderr.endswith(f"\r[{'#' * 30}] 100% 4/4\n")


def test_diverged_training_exits_with_one_and_saves_nothing(tmp_path: Path, text_file: str) -> None:
    run = Run(tmp_path / "run", SMALL | {"max_steps": 500, "learning_rate": 1e30}, text_file)

    result = run.finish()

    assert result.returncode == 1
    _assert_one_line(result.stderr, "training diverged")
    assert run.checkpoints() == []


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate must be at least 0, not -0.1"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"hidden_dim": "wide"}, "hidden_dim must be a number, not 'wide'"),
    ],
)
def test_unusable_hyperparameter_exits_with_two(
    tmp_path: Path, text_file: str, hyperparameters: dict[str, Any], message: str
) -> None:
    result = Run(tmp_path / "run", hyperparameters, text_file).finish()

    assert result.returncode == 2
    _assert_one_line(result.stderr, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a file"),
        (b"\xff\xfe\x00 not UTF-8", "is not UTF-8"),
        (b"A short text.", "the text is too short"),
    ],
)
def test_unusable_dataset_exits_with_two(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    dataset = tmp_path / "text.txt"
    if content is not None:
        dataset.write_bytes(content)

    result = Run(tmp_path / "run", {}, str(dataset)).finish()

    assert result.returncode == 2
    _assert_one_line(result.stderr, message)


def test_damaged_checkpoint_exits_with_two(tmp_path: Path, finished: FinishedRun) -> None:
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(finished.run.checkpoint(100).read_bytes()[:-1_000])

    result = Run(tmp_path / "run", {}, finished.run.dataset, resume_from=damaged).finish()

    assert result.returncode == 2
    _assert_one_line(result.stderr, "damaged.npz is damaged or not a checkpoint of this script")


def test_checkpoint_of_another_size_exits_with_two(tmp_path: Path, finished: FinishedRun) -> None:
    saved = finished.run.checkpoint(100)
    run = Run(tmp_path / "run", {"hidden_dim": 64}, finished.run.dataset, resume_from=saved)

    result = run.finish()

    assert result.returncode == 2
    _assert_one_line(result.stderr, "was trained with hidden_dim 256, not 64")


def test_checkpoint_past_the_last_step_exits_with_two(
    tmp_path: Path, finished: FinishedRun
) -> None:
    saved = finished.run.checkpoint(200)
    run = Run(tmp_path / "run", {"max_steps": 100}, finished.run.dataset, resume_from=saved)

    result = run.finish()

    assert result.returncode == 2
    _assert_one_line(result.stderr, "the checkpoint is at step 200, past the last step 100")


def _assert_one_line(stderr: str, message: str) -> None:
    assert message in stderr
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
