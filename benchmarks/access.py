"""What access control costs: what callers may see, the audit's triggers, guessed passwords."""

from __future__ import annotations

import http.client
import math
import os
import re
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import Any, Final
from urllib.parse import urlencode

from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.client import Load, drive, request
from benchmarks.cloning import clone_runs
from benchmarks.report import Row, compared
from benchmarks.scheduling import result_of
from benchmarks.servers import Server

RUNS: Final = 20_000
AUDITED: Final = ("runs_run", "projects_project")  # that a queued run writes to
PROXY: Final = "127.0.0.1"
HOME: Final = "198.51.100.1"
GUESSES: Final = 40
GUESSERS: Final = 16  # at once


@contextmanager
def guarded(bench: Bench, tokens: int = 1) -> Iterator[tuple[Server, Any]]:
    """A server without open mode, and what benchmarks.members has made on it."""
    closed = {"TRAINHUB_OPEN_MODE": "false", "TRAINHUB_TRUSTED_PROXIES": PROXY}
    with bench.trainhub(**closed) as server:
        environment = os.environ | {"DATABASE_URL": server.cluster.url(server.database)}
        yield server, result_of("members", tokens, environment=environment)


# --- what a caller may see -------------------------------------------------------------------


def visible(bench: Bench) -> list[Row]:
    """A member of three teams of 50, next to an operator, for whom nothing is looked up."""
    with guarded(bench) as (server, made):
        project, run = made["project_id"], made["run_id"]
        clone_runs(server, run, bench.size(RUNS, 100))
        paths = {
            "a run": f"/projects/{project}/runs/{run}",
            f"50 runs of {RUNS:,}": f"/projects/{project}/runs?page_size=50",
            "a curve": f"/projects/{project}/runs/{run}/metrics/series?keys=metric_0",
        }
        return [_cost(bench, server, made["tokens"], what, path) for what, path in paths.items()]


def _cost(bench: Bench, server: Server, tokens: dict[str, list[str]], what: str, path: str) -> Row:
    """Core time, which is what a caller's rights take, in turns: neither has a quieter machine."""
    watched = server.watched()
    spent: dict[str, list[float]] = {"member": [], "operator": []}
    loads: dict[str, list[Load]] = {"member": [], "operator": []}
    messages = {
        name: request("GET", path, Authorization=f"Bearer {tokens[name][0]}") for name in spent
    }
    for message in messages.values():
        drive(server.port, [repeat(message)] * 4, bench.pace.warm_up_seconds)
    for _ in range(2 * bench.pace.repetitions):
        for name, message in messages.items():
            before = watched.cpu_seconds()
            load = drive(server.port, [repeat(message)] * 4, bench.pace.seconds / 2)
            used = sum(watched.cpu_seconds().values()) - sum(before.values())
            spent[name].append(1e6 * used / len(load.latencies_ms))
            loads[name].append(load)
    member, operator = (statistics.median(spent[name]) for name in ("member", "operator"))
    return compared(
        f"a core's time for {what}, as a member", member, "µs", "as an operator, who sees all",
        operator, at_least=1 / 1.05, less_is_better=True, samples=spent["member"],
        limit_samples=spent["operator"],
        note=f"{statistics.median(load.rate for load in loads['member']):,.0f} a second, "
        f"as an operator {statistics.median(load.rate for load in loads['operator']):,.0f}",
    )  # fmt: skip


# --- the audit -------------------------------------------------------------------------------


def audit(bench: Bench) -> list[Row]:
    """Runs that are queued through the API, with and without the triggers of the audit."""
    with guarded(bench) as (server, made):
        path = f"/projects/{made['project_id']}/runs"
        token = {"Authorization": f"Bearer {made['tokens']['member'][0]}"}
        message = request("POST", path, b'{"hyperparameters": {"learning_rate": 3e-5}}', **token)
        ms: dict[str, list[float]] = {"ENABLE": [], "DISABLE": []}
        drive(server.port, [repeat(message)], bench.pace.warm_up_seconds)
        for _ in range(2 * bench.pace.repetitions):
            for switch, taken in ms.items():
                for table in AUDITED:
                    _switch(server, table, switch)
                load = drive(server.port, [repeat(message)], bench.pace.seconds / 2)
                taken.append(statistics.median(load.latencies_ms))
        for table in AUDITED:
            _switch(server, table, "ENABLE")
    audited, bare = (statistics.median(ms[switch]) for switch in ("ENABLE", "DISABLE"))
    return [
        compared(
            "a run queued by POST, median", audited, "ms", "without the audit's triggers", bare,
            less_is_better=True, samples=ms["ENABLE"], limit_samples=ms["DISABLE"],
        )
    ]  # fmt: skip


def _switch(server: Server, table: str, switch: str) -> None:
    server.cluster.execute(server.database, f"ALTER TABLE {table} {switch} TRIGGER audit")


# --- passwords that are guessed --------------------------------------------------------------


def sign_in(bench: Bench) -> list[Row]:
    """A member's page while 16 guessers send 40 wrong passwords, next to the same page alone."""
    alone: list[float] = []
    beside: list[float] = []
    longest: list[float] = []
    with guarded(bench) as (server, made):
        for number in range(bench.size(6, 1)):
            member = Browser(server.port, HOME)
            assert member.sign_in("member", made["password"]) == 302
            for _ in range(10):
                member.page_ms()
            alone += [member.page_ms() for _ in range(30)]
            guessed = f"203.0.113.{number}"  # what one address may try is used up
            beside += _pages_beside_guessers(server, member, guessed, longest)
            server.cluster.execute(server.database, "DELETE FROM accounts_sign_in_allowance")
    return [
        compared(
            f"a member's page beside {GUESSERS} guessers, p95", _p95(beside), "ms",
            "alone, p95", _p95(alone), at_least=0.5, less_is_better=True,
            note=f"{len(beside)} pages, {len(alone)} alone; the guesses took "
            f"{statistics.median(longest):.1f} s",
        )
    ]  # fmt: skip


def _pages_beside_guessers(
    server: Server, member: Browser, address: str, longest: list[float]
) -> list[float]:
    form = Browser(server.port, address)
    form.open_form()
    numbers, lock = iter(range(GUESSES)), threading.Lock()

    def guess(_guesser: int) -> None:
        browser = Browser(server.port, address, form.cookies)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            assert browser.sign_in("member", f"guess {number}") in (200, 429)

    pages = []
    began = time.perf_counter()
    with ThreadPoolExecutor(GUESSERS) as pool:
        guessing = [pool.submit(guess, number) for number in range(GUESSERS)]
        while not all(each.done() for each in guessing):
            pages.append(member.page_ms())
        for each in guessing:
            each.result()
    longest.append(time.perf_counter() - began)
    return pages


class Browser:
    """As much of one as a form takes: cookies, and the token of the form."""

    def __init__(self, port: int, address: str, cookies: dict[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._address = address
        self.cookies = dict(cookies or {})

    def open_form(self) -> None:
        self._ask("GET", "/login")

    def sign_in(self, name: str, password: str) -> int:
        if "csrftoken" not in self.cookies:
            self.open_form()
        form = {
            "csrfmiddlewaretoken": self.cookies["csrftoken"],
            "username": name,
            "password": password,
        }
        return self._ask("POST", "/login", urlencode(form))

    def page_ms(self) -> float:
        began = time.perf_counter()
        status = self._ask("GET", "/dashboard")
        assert status == 200, status
        return 1000 * (time.perf_counter() - began)

    def _ask(self, method: str, path: str, body: str = "") -> int:
        headers = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-Forwarded-For": self._address,
            **({"Content-Type": "application/x-www-form-urlencoded"} if body else {}),
        }
        self._connection.request(method, path, body or None, headers)
        response = self._connection.getresponse()
        response.read()
        for cookie in response.headers.get_all("Set-Cookie") or ():
            if found := re.match(r"([^=]+)=([^;]*)", cookie):
                self.cookies[found[1]] = found[2]
        return response.status


def _p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


SUBJECTS: Final[Subjects] = {
    "visible": Subject("What a caller may see: a member of 3 teams of 50, 200 projects", visible),
    "audit": Subject("The audit's triggers", audit),
    "sign-in": Subject("Wrong passwords: 40 of 16 guessers at once", sign_in),
}
