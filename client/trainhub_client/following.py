"""A run as it goes on: its log line by line, its state. The server may go away in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from trainhub_client.api import Api
from trainhub_client.errors import ExitCode, Unreachable
from trainhub_client.lookups import RunPath
from trainhub_client.output import TERMINAL, note

POLL_SECONDS = 1.0
LINES_AT_ONCE = 500
# How long a server may be away before following it ends.
PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 3.0


def exit_code_of(run: dict[str, Any]) -> ExitCode:
    """Of a run that is over."""
    codes = {"已失败": ExitCode.RUN_FAILED, "已取消": ExitCode.RUN_CANCELLED}
    return codes.get(run["status"], ExitCode.OK)


def patiently(ask: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> Any:
    """What ``ask`` returns, asked again while the server is away. Raises Unreachable."""
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            answer = ask()
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                note(f"{error} Trying again …", "yellow")
                told = True
            time.sleep(RETRY_SECONDS)
        else:
            if told:
                note("The server answers again.", "green")
            return answer


def states(api: Api, run: RunPath, every: float) -> Iterator[dict[str, Any]]:
    """The run's detail, again and again; the last one when it is over."""
    while True:
        state: dict[str, Any] = patiently(lambda: run.detail(api))
        yield state
        if state["status"] in TERMINAL:
            return
        time.sleep(every)


def log_lines(
    api: Api, run: RunPath, *, tail: int | None, follow: bool, filters: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The log's lines, oldest first: the last ``tail`` of them, or all. ``follow``: those to come,
    too, until the run is over."""
    seq = 0
    if tail is not None:
        for line in _last_lines(api, run, tail, filters):
            seq = line["seq"]
            yield line
        if not seq:  # there are none, or none was wanted
            seq = _newest(api, run)
    while True:
        # Asked before the lines: what a run has printed before its end is then among them.
        is_over = not follow or patiently(lambda: run.detail(api))["status"] in TERMINAL
        while page := _page(api, run, seq, filters):
            for line in page["items"]:
                yield line
            seq = page["next_after_seq"]
            if len(page["items"]) < LINES_AT_ONCE:
                break
        if is_over:
            return
        time.sleep(POLL_SECONDS)


def _page(api: Api, run: RunPath, seq: int, filters: dict[str, Any]) -> dict[str, Any]:
    page: dict[str, Any] = patiently(
        lambda: api.get(f"{run.url}/logs", after_seq=seq, page_size=LINES_AT_ONCE, **filters)
    )
    return page


def _last_lines(
    api: Api, run: RunPath, count: int, filters: dict[str, Any]
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for page in range(1, count // LINES_AT_ONCE + 2):
        answer = api.get(
            f"{run.url}/logs", order="desc", page=page, page_size=LINES_AT_ONCE, **filters
        )
        lines += answer["items"]
        if len(answer["items"]) < LINES_AT_ONCE or len(lines) >= count:
            break
    return lines[:count][::-1]


def _newest(api: Api, run: RunPath) -> int:
    items = api.get(f"{run.url}/logs", order="desc", page_size=1)["items"]
    return int(items[0]["seq"]) if items else 0
