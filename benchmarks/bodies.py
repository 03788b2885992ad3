"""Endless iterators of requests that write points; no point is repeated."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from benchmarks.client import request
from benchmarks.servers import API

START_MS: Final = 1_790_000_000_000
STEP_MS: Final = 1_000  # a training step takes a second


def batches(
    names: Sequence[str], steps: int, encode: Callable[[list[dict[str, Any]]], bytes]
) -> Iterator[bytes]:
    """Request bodies with a point of every metric at each of ``steps`` steps."""
    rnd = random.Random(names[0])
    step = 0
    while True:
        yield encode(
            [
                {
                    "key": name,
                    "value": rnd.random(),
                    "timestamp": START_MS + number * STEP_MS,
                    "step": number,
                }
                for number in range(step, step + steps)
                for name in names
            ]
        )
        step += steps


def metric_names(count: int) -> list[str]:
    return [f"train/metric_{number}" for number in range(count)]


def log_batch(run_id: str, names: Sequence[str], steps: int) -> Iterator[bytes]:
    def encode(points: list[dict[str, Any]]) -> bytes:
        body = orjson.dumps({"run_id": run_id, "metrics": points})
        return request("POST", f"{API}runs/log-batch", body)

    return batches(names, steps, encode)


def log_metric(run_id: str, key: str = "loss") -> Iterator[bytes]:
    rnd = random.Random(key)
    step = 0
    while True:
        point = {"key": key, "value": rnd.random(), "step": step}
        point |= {"run_id": run_id, "timestamp": START_MS + step * STEP_MS}
        yield request("POST", f"{API}runs/log-metric", orjson.dumps(point))
        step += 1


def rest_columns(project_id: str, run_id: str, names: Sequence[str], steps: int) -> Iterator[bytes]:
    """TrainHub's own endpoint, with the points of each metric in columns."""
    path = f"/projects/{project_id}/runs/{run_id}/metrics"

    def encode(points: list[dict[str, Any]]) -> bytes:
        metrics: dict[str, dict[str, list[float]]] = {
            name: {"steps": [], "values": [], "timestamps_ms": []} for name in names
        }
        for point in points:
            columns = metrics[point["key"]]
            columns["steps"].append(point["step"])
            columns["values"].append(point["value"])
            columns["timestamps_ms"].append(point["timestamp"])
        return request("POST", path, orjson.dumps({"metrics": metrics}))

    return batches(names, steps, encode)


def rest_batch(project_id: str, run_id: str, names: Sequence[str], steps: int) -> Iterator[bytes]:
    """TrainHub's own endpoint, with timestamps as ISO 8601 text."""
    path = f"/projects/{project_id}/runs/{run_id}/metrics"

    def encode(points: list[dict[str, Any]]) -> bytes:
        for point in points:
            seconds = point["timestamp"] // 1000  # STEP_MS is whole seconds
            point["timestamp"] = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}Z"
        return request("POST", path, orjson.dumps({"points": points}))

    return batches(names, steps, encode)
