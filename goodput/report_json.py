"""Accounts and reports as the API and CSV files tell them."""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from core.text import neutral
from core.times import iso_time
from goodput.account import Interval, sums
from goodput.accounting import RunAccount, began_at
from goodput.parts import HELD, Part
from goodput.reports import Group, Report
from goodput.utilization import mean_utilization_of
from runs.models import GpuPool

SECONDS_PER_HOUR: Final = 3600


def report_json(report: Report) -> dict[str, Any]:
    return {
        "by": report.by.value,
        "first_day": report.first_day,
        "last_day": report.last_day,
        "counted_until": report.at,
        "pending": report.pending,
        "group_count": report.group_count,
        "groups": [group_json(group) for group in report.groups],
        "total": _numbers(report.total),
    }


def group_json(group: Group) -> dict[str, Any]:
    return {
        "key": group.key or None,
        "name": group.name,
        "project_id": group.project_id,
        **_numbers(group),
    }


def _numbers(group: Group) -> dict[str, Any]:
    return {
        "run_count": group.run_count,
        "wall_seconds": group.wall / 1_000_000,
        "goodput": group.goodput,
        "gpu_hours": group.gpu_hours,
        "idle_share": group.idle_share,
        "idle_gpu_hours": group.idle_gpu_hours,
        "cost": group.cost,
        "unpriced_gpu_hours": group.unpriced_gpu_hours,
        "parts": {
            part.value: {"seconds": group.seconds(part), "gpu_hours": group.gpu_hours_of(part)}
            for part in Part
        },
    }


COLUMNS: Final = (
    "key",
    "name",
    "project_id",
    "run_count",
    "wall_seconds",
    "goodput",
    "gpu_hours",
    "idle_share",
    "idle_gpu_hours",
    "cost",
    "unpriced_gpu_hours",
)
PART_COLUMNS: Final = [
    *(f"{part.value}_seconds" for part in Part),
    *(f"{part.value}_gpu_hours" for part in Part),
]


def report_csv(report: Report) -> str:
    """RFC 4180; texts that a spreadsheet would compute are preceded by an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *PART_COLUMNS])
    for group in report.groups:
        row = group_json(group)
        texts = [neutral(row[name] or "") for name in COLUMNS[:3]]
        numbers = [row[name] for name in COLUMNS[3:]]
        parts = [row["parts"][part.value] for part in Part]
        writer.writerow(
            [
                *texts,
                *("" if number is None else number for number in numbers),
                *(part["seconds"] for part in parts),
                *(part["gpu_hours"] for part in parts),
            ]
        )
    return text.getvalue()


def account_json(found: RunAccount) -> dict[str, Any]:
    run, parts = found.run, sums(found.intervals)
    wall = sum(parts.values())
    held = sum(parts[part] for part in HELD) / 1_000_000 / SECONDS_PER_HOUR * run.gpu_count
    utilization = mean_utilization_of(run) if run.gpu_count else None
    pool = GpuPool.objects.filter(name=run.pool or run.gpu_type).first()
    price = None if pool is None else pool.price_per_gpu_hour
    return {
        "run_id": run.pk,
        "began_at": began_at(run),
        "counted_until": found.at,
        "is_over": run.is_terminal,
        "gpu_count": run.gpu_count,
        "gpu_type": run.gpu_type,
        "pool": run.pool,
        "wall_seconds": wall / 1_000_000,
        "goodput": parts[Part.TRAINING] / wall if wall else None,
        "gpu_hours": held,
        "utilization": utilization,
        "idle_gpu_hours": None if utilization is None else held * (1 - min(1.0, utilization)),
        "cost": None if price is None else round(float(price) * held, 2),
        "parts": {
            part.value: {
                "seconds": time / 1_000_000,
                "gpu_hours": time / 1_000_000 / SECONDS_PER_HOUR * run.gpu_count,
            }
            for part, time in parts.items()
        },
        "intervals": [_interval_json(interval) for interval in found.intervals],
    }


def _interval_json(interval: Interval) -> dict[str, Any]:
    return {
        "part": interval.part.value,
        "begin": iso_time(interval.begin // 1000),
        "end": iso_time(interval.end // 1000),
        "seconds": interval.microseconds / 1_000_000,
    }
