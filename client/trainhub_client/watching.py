"""A run's state on a terminal, and as lines where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainhub_client.api import Api
from trainhub_client.following import states
from trainhub_client.lookups import RunPath
from trainhub_client.output import (
    TERMINAL,
    colored_status,
    moment,
    out,
    plain,
    print_json_line,
    print_line,
    span,
    status_of,
)

EVERY_SECONDS = 2.0
MAX_METRICS = 12
PERCENT_A_LINE = 10


def watch(api: Api, run: RunPath, *, as_json: bool) -> dict[str, Any]:
    """Show the run until it is over; its last state. ``as_json``: a line of JSON whenever its
    status, step or metrics have changed."""
    found = states(api, run, EVERY_SECONDS)
    if as_json:
        return _as_json(found)
    return _live(found) if sys.stdout.isatty() else _lines(found)


def _as_json(found: Iterator[dict[str, Any]]) -> dict[str, Any]:
    shown, state = None, {}
    for state in found:
        version = (state["status"], state["step"], state["metrics"], state["status_reason"])
        if version != shown:
            print_json_line(state)
            shown = version
    return state


def _lines(found: Iterator[dict[str, Any]]) -> dict[str, Any]:
    shown, state = None, {}
    for state in found:
        version = (state["status"], int(state["progress"] * 100) // PERCENT_A_LINE)
        if version != shown:
            print_line(summary(state))
            sys.stdout.flush()
            shown = version
    return state


def summary(state: dict[str, Any]) -> str:
    """One line."""
    parts = [state["id"], status_of(state), f"{state['progress']:.0%}", f"step {_steps(state)}"]
    left = seconds_left(state)
    if left is not None:
        parts.append(f"{span(left)} left")
    if state["status_reason"]:
        parts.append(state["status_reason"])
    return "  ".join(parts)


def _live(found: Iterator[dict[str, Any]]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    with Live(console=out(), auto_refresh=False) as live:
        for state in found:
            live.update(_drawn(state), refresh=True)
    return state


def _drawn(state: dict[str, Any]) -> Group:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_row("run", Text(plain(f"{state['name']}  ({state['id']})")))
    facts.add_row("status", colored_status(state))
    if state["status_reason"]:
        facts.add_row("reason", Text(plain(state["status_reason"])))
    facts.add_row("step", _steps(state))
    left = seconds_left(state)
    if left is not None:
        facts.add_row("left", f"about {span(left)}")
    for name, value in sorted(state["metrics"].items())[:MAX_METRICS]:
        facts.add_row(Text(plain(name), style="dim"), _number(value))
    bar = ProgressBar(total=1.0, completed=state["progress"], width=60)
    return Group(facts, bar)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)


def _steps(state: dict[str, Any]) -> str:
    total = state["total_steps"]
    return f"{state['step']:,}" + (f" of {total:,}" if total else "")


def seconds_left(state: dict[str, Any]) -> float | None:
    """By the mean pace of the current attempt; None if it cannot be told."""
    started, total = state["attempt_started_at"], state["total_steps"]
    if not started or not total or state["status"] in TERMINAL or not state["stepped_at"]:
        return None
    done = state["step"] - state["start_step"]
    elapsed = (moment(state["stepped_at"]) - moment(started)).total_seconds()
    if done <= 0 or elapsed <= 0:
        return None
    since = (datetime.now(timezone.utc) - moment(state["stepped_at"])).total_seconds()
    left: float = (total - state["step"]) * elapsed / done
    return max(0.0, left - max(0.0, since))
