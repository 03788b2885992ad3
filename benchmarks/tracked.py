"""Trains the example by itself and as a run of TrainHub, in turn:
python -m benchmarks.tracked REPETITIONS STEPS FOLDER.

Prints JSON: seconds of a step on average, of each training ``alone`` and of each ``tracked`` one.
Both are from the times that the script gives with its metrics, first to last.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django

from benchmarks.environments import ROOT

RECIPE = "char-lm"
LONGEST_SECONDS = 600.0  # of a training
STOP_SECONDS = 30.0  # of its worker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")


def main() -> None:
    repetitions, steps, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    django.setup()

    seconds: dict[str, list[float]] = {"alone": [], "tracked": []}
    for number in range(repetitions):
        pair = [("alone", alone), ("tracked", tracked)]
        for name, train in pair if number % 2 == 0 else pair[::-1]:
            seconds[name].append(train(steps, folder))
    print(json.dumps(seconds))  # noqa: T201


def alone(steps: int, folder: Path) -> float:
    """The same script and settings, by hand."""
    with TemporaryDirectory(dir=folder) as directory:
        configuration = Path(directory, "run.json")
        configuration.write_text(json.dumps({"hyperparameters": {"max_steps": steps}}))
        subprocess.run(
            [sys.executable, ROOT / "examples/char_lm/train.py", "--config", configuration],
            cwd=directory, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        lines = Path(directory, "metrics.jsonl").read_text().splitlines()
    reports = [json.loads(line) for line in lines]
    return _seconds_of_a_step([(report["step"], report["timestamp"]) for report in reports])


def tracked(steps: int, folder: Path) -> float:
    """A run whose launcher, log, metrics and checkpoints a worker of this machine handles."""
    from metrics.models import MetricPoint
    from projects.models import Project
    from runs.actions import create_run
    from runs.models import Recipe, Run
    from runs.status import RunStatus

    project, _created = Project.objects.get_or_create(name="tracked")
    recipe = Recipe.objects.get(name=RECIPE)
    with worker(folder / "worker.log"):
        run = create_run(project, by=None, recipe=recipe, hyperparameters={"max_steps": steps})
        deadline = time.monotonic() + LONGEST_SECONDS
        while not (run := Run.objects.get(pk=run.pk)).is_terminal:
            assert time.monotonic() < deadline, "the run does not end"
            time.sleep(0.5)
    assert run.status == RunStatus.COMPLETED, run.status_reason
    points = MetricPoint.objects.filter(series__run=run, series__key="train_loss")
    return _seconds_of_a_step(
        [(step, ms / 1000) for step, ms in points.values_list("step", "timestamp_ms")]
    )


@contextmanager
def worker(log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process: subprocess.Popen[Any] = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"],
            cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _seconds_of_a_step(reports: list[tuple[int, float]]) -> float:
    (first, began), (last, ended) = min(reports), max(reports)
    return (ended - began) / (last - first)


if __name__ == "__main__":
    main()
