"""The unmodified MLflow client at work. Runs in an environment of its own, where TrainHub is not:

python mlflow_client.py ADDRESS RUN_ID batch|single|history SECONDS REPETITIONS

Prints a JSON list: of each repetition the points a second, or the seconds that a history took.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

KEYS, STEPS = 20, 50  # of a batch
START_MS = 1_790_000_000_000


class Script:
    def __init__(self, address: str, run_id: str) -> None:
        self.client = MlflowClient(address)
        self.run_id = run_id
        self.step = 0

    def batch(self) -> Callable[[], int]:
        """The next batch, made before it is timed: it is not the client that makes points."""
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
        """Points a second, while points are sent for so long."""
        points, taken = 0, 0.0
        while taken < seconds:
            send = make()
            started = time.perf_counter()
            points += send()
            taken += time.perf_counter() - started
        return points / taken

    def history(self, key: str, expected: int) -> float:
        started = time.perf_counter()
        found = self.client.get_metric_history(self.run_id, key)
        taken = time.perf_counter() - started
        if len(found) != expected:
            raise RuntimeError(f"{len(found)} points instead of {expected}.")
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
