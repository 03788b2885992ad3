"""Measure the unmodified MLflow client, in a separate environment without TrainHub.

python mlflow_client.py ADDRESS RUN_ID batch|single|history SECONDS REPETITIONS

Prints a JSON list with the points per second, or the seconds per history, of each repetition.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

KEYS, STEPS = 20, 50  # per batch
START_MS = 1_790_000_000_000


class Script:
    def __init__(self, address: str, run_id: str) -> None:
        self.client = MlflowClient(address)
        self.run_id = run_id
        self.step = 0

    def batch(self) -> Callable[[], int]:
        """Prepare the next batch before timing: generating points is not part of the client."""
        metrics = [
            Metric(f"train/metric_{key}", random.random(), START_MS + 1000 * step, step)
            for step in range(self.step, self.step + STEPS)
            for key in range(KEYS)
        ]
        self.step += STEPS

        def send() -> int:
            self.client.log_batch(self.run_id, metrics)
            return len(metrics)

        return send

    def single(self) -> Callable[[], int]:
        step = self.step = self.step + 1
        value = random.random()

        def send() -> int:
            self.client.log_metric(self.run_id, "loss", value, START_MS + 1000 * step, step)
            return 1

        return send

    def rate(self, make: Callable[[], Callable[[], int]], seconds: float) -> float:
        """Send points for ``seconds`` and return points per second."""
        points, taken = 0, 0.0
        while taken < seconds:
            send = make()
            started = time.perf_counter()
            points += send()
            taken += time.perf_counter() - started
        return points / taken

    def history(self, key: str, expected: int) -> float:
        started = time.perf_counter()
        points = self.client.get_metric_history(self.run_id, key)
        taken = time.perf_counter() - started
        if len(points) != expected:
            raise RuntimeError(f"Expected {expected} points, got {len(points)}.")
        return taken


def main() -> None:
    address, run_id, what, amount, repetitions = sys.argv[1:]
    script = Script(address, run_id)
    if what == "history":
        run = [script.history("loss", int(amount)) for _ in range(int(repetitions) + 1)]
    else:
        make = script.batch if what == "batch" else script.single
        run = [script.rate(make, float(amount)) for _ in range(int(repetitions) + 1)]
    sys.stdout.write(json.dumps(run[1:]))  # the first warms up


if __name__ == "__main__":
    main()
