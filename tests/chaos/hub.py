"""The TrainHub that is broken: `manage.py up` with 20 runs, a long log, and witnesses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.chaos.witnesses import Bystander, Reporter, Witnesses, call
from tests.up_process import REPOSITORY, UpProcess, up_process, wait_until

TRAININGS: Final = 12
SIMULATED: Final = 8
SIMULATED_STEPS_PER_SECOND: Final = 5
LOG_BATCHES, LOG_BATCH_LINES = 100, 1000
DATA_MEGABYTES, ARTIFACTS_MEGABYTES = 1500, 400
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
END_SECONDS: Final = 120

RECIPE: Final = """
from runs.models import Recipe
Recipe.objects.create(
    name="chaos", executor="process", enabled=True,
    command=["{{python}}", {script!r}, {seconds!r}],
)
"""


@dataclass
class Hub:
    up: UpProcess
    project: str
    trainings: list[str]
    simulated: list[str]
    reported: str  # the run that the reporters write to
    seconds: float  # that a training takes
    has_disks: bool  # whether the data directory and the artifacts are file systems of their own

    def run_url(self, run_id: str) -> str:
        return f"{self.up.base_url}/projects/{self.project}/runs/{run_id}"

    def post(self, path: str, content: Any) -> Any:
        status, body = call(f"{self.up.base_url}{path}", content)
        assert status in {200, 201}, (status, body)
        return json.loads(body)

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(**self.up.database.connection_parameters) as connection:
            return connection.execute(sql, parameters).fetchall()

    # The witnesses

    def witnesses(self) -> Witnesses:
        """Bystanders, and three reporters that write to one run: eight threads together."""
        base = self.up.base_url
        return Witnesses(
            Bystander("health", f"{base}/healthz", 0.05),
            [
                Bystander("API", self.run_url(self.trainings[0]), 0.1),
                Bystander("page", f"{base}/dashboard/projects/{self.project}", 0.3),
            ],
            [
                Reporter("points", f"{self.run_url(self.reported)}/metrics", 0.05, points),
                Reporter("lines", f"{self.run_url(self.reported)}/logs", 0.05, lines),
                Reporter("MLflow", f"{base}/api/2.0/mlflow/runs/log-metric", 0.05, self._point),
            ],
        )

    def _point(self, number: int) -> dict[str, Any]:
        return {
            "run_id": self.reported,
            "key": "mlflow",
            "value": number / 2,
            "step": number,
            "timestamp": 1_700_000_000_000 + number,
        }

    # What must be there in the end

    def wait_for_the_end(self) -> None:
        """Of all runs, each completed."""

        def left() -> list[tuple[Any, ...]]:
            return self.query(
                "SELECT id, status, status_reason FROM runs_run"
                " WHERE id = ANY(%s) AND status <> '已完成'",
                [*self.trainings, *self.simulated],
            )

        def all_completed() -> bool:
            return not left()

        try:
            wait_until(all_completed, self.seconds + END_SECONDS, "all runs have completed")
        except AssertionError:
            output = self.up.output[-5000:]
            raise AssertionError(f"not completed: {left()}\n{output}") from None

    def losses(self, witnesses: Witnesses) -> list[str]:
        """What was acknowledged or trained and is not there exactly once."""
        steps = int(self.seconds / 0.2)
        problems = [self._missing(run, "loss", range(1, steps + 1)) for run in self.trainings]
        for reporter in witnesses.reporters:
            problems += [f"{reporter.name} was refused: {refusal}" for refusal in reporter.refusals]
        sent = {reporter.name: reporter.acknowledged for reporter in witnesses.reporters}
        problems.append(self._missing(self.reported, "mlflow", sent["MLflow"]))
        for key in ("a", "b"):
            problems.append(self._missing(self.reported, key, sent["points"]))
        problems.append(self._missing_lines(sent["lines"]))
        return [problem for problem in problems if problem]

    def _missing(self, run: str, key: str, numbers: Any) -> str:
        rows = self.query(
            "SELECT step, count(*) FROM metrics_metricpoint p JOIN metrics_metricseries s"
            " ON s.id = p.series_id WHERE s.run_id = %s AND s.key = %s GROUP BY step",
            run,
            key,
        )
        stored = dict(rows)
        missing = [number for number in numbers if stored.get(number) != 1]
        return f"{run} {key}: not once: {missing[:9]} ({len(missing)})" if missing else ""

    def _missing_lines(self, numbers: list[int]) -> str:
        rows = self.query(
            "SELECT message, count(*) FROM logs_logline WHERE run_id = %s"
            " AND source = 'chaos' GROUP BY message",
            self.reported,
        )
        stored = dict(rows)
        wanted = [f"line {number}.{place}" for number in numbers for place in range(5)]
        missing = [text for text in wanted if stored.get(text) != 1]
        return f"lines: not once: {missing[:9]} ({len(missing)})" if missing else ""


def points(number: int) -> dict[str, Any]:
    time = (START + timedelta(seconds=number)).isoformat()
    return {
        "points": [
            {"key": key, "step": number, "value": number / 3, "timestamp": time} for key in "ab"
        ]
    }


def lines(number: int) -> dict[str, Any]:
    return {
        "batch": f"chaos/{number}",
        "lines": [
            {
                "timestamp": START.isoformat(),
                "level": "INFO",
                "source": "chaos",
                "message": f"line {number}.{place}",
            }
            for place in range(5)
        ],
    }


@contextmanager
def running_hub(seconds: float) -> Iterator[Hub]:
    """With 20 runs, of which the trainings take ``seconds``."""
    with (
        up_process(
            TRAINHUB_SIMULATION_STEPS_PER_SECOND=str(SIMULATED_STEPS_PER_SECOND),
            TRAINHUB_WORKER_SLOTS="24",
        ) as up,
        _disks(up.data_dir) as has_disks,
    ):
        up.start()
        hub = _filled(up, seconds, has_disks)
        try:
            yield hub
        finally:
            if up.process is not None and up.process.poll() is None:
                up.stop()
            up.kill_everything()


def _filled(up: UpProcess, seconds: float, has_disks: bool) -> Hub:
    script = str(Path(__file__).with_name("training.py"))
    subprocess.run(
        [
            sys.executable,
            "manage.py",
            "shell",
            "-c",
            RECIPE.format(script=script, seconds=str(seconds)),
        ],
        cwd=REPOSITORY,
        env=up.environment,
        check=True,
        capture_output=True,
    )
    hub = Hub(up, "", [], [], "", seconds, has_disks)
    hub.project = hub.post("/projects", {"name": "chaos"})["id"]
    runs = f"/projects/{hub.project}/runs"
    training = {"recipe": "chaos", "resources": {"gpu_count": 0}}
    hub.trainings = [hub.post(runs, training)["id"] for _ in range(TRAININGS)]
    steps = int(seconds * SIMULATED_STEPS_PER_SECOND)
    simulated = {
        "recipe": "simulated",
        "hyperparameters": {"max_steps": steps},
        "resources": {"gpu_count": 0},
    }
    hub.simulated = [hub.post(runs, simulated)["id"] for _ in range(SIMULATED)]
    experiment = {"experiment_id": hub.project, "run_name": "reported", "start_time": 1}
    created = hub.post("/api/2.0/mlflow/runs/create", experiment)
    hub.reported = created["run"]["info"]["run_id"]
    for batch in range(LOG_BATCHES):
        _write_log(hub, batch)
    return hub


def _write_log(hub: Hub, batch: int) -> None:
    """Lines that take long to search."""
    line = {"timestamp": START.isoformat(), "level": "INFO", "message": "ab" * 60}
    content = {"batch": f"long/{batch}", "lines": [line] * LOG_BATCH_LINES}
    hub.post(f"/projects/{hub.project}/runs/{hub.reported}/logs", content)


@contextmanager
def _disks(data_dir: Path) -> Iterator[bool]:
    """The data directory and the artifacts on small file systems of their own, for root."""
    if os.geteuid() != 0 or sys.platform != "linux":
        yield False
        return
    artifacts = data_dir / "artifacts"
    for path, megabytes in ((data_dir, DATA_MEGABYTES), (artifacts, ARTIFACTS_MEGABYTES)):
        path.mkdir(parents=True, exist_ok=True)
        options = f"size={megabytes}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "chaos", str(path)], check=True)
    try:
        yield True
    finally:
        for path in (artifacts, data_dir):
            subprocess.run(["umount", "--lazy", str(path)], check=True)
