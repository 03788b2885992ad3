"""A real browser against a real server, with a real worker beside it.

Where there is no Chromium these tests are skipped, and say so; in CI that is a failure.
"""

import os
import shutil
import threading

import pytest
from django.db import connections
from playwright.sync_api import Browser, Page, sync_playwright

from runs.executors.simulated import SimulatedExecutor
from runs.models import ExecutorName
from runs.worker import WorkerLoop

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 15_000
FLAGS = [
    "--no-sandbox",  # CI tests as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    # It talks to the server under test and to nobody else.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium():
    configured = os.environ.get("CHROMIUM")
    return configured or next(filter(None, map(shutil.which, CHROMIUMS)), None)


@pytest.fixture
def browser(live_server, monkeypatch):
    """A Chromium for one test, started after the test's database is ready and ended before it goes.

    Playwright's synchronous interface keeps an event loop running in this thread, and in such a
    thread Django has connections of their own: they must neither meet the fixtures of the database
    nor outlive the loop.
    """
    executable = find_chromium()
    if executable is None:
        reason = "no Chromium found: apt install chromium, or set CHROMIUM to a browser's path"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()
        connections.close_all()


@pytest.fixture
def open_page(browser: Browser, live_server):
    """Makes pages; at the end of the test every one must have been free of errors."""
    contexts, problems = [], []

    def make(**options) -> Page:
        context = browser.new_context(base_url=live_server.url, locale="zh-CN", **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.on(
            "response",
            lambda answer: (
                answer.status >= 500 and problems.append(f"{answer.status} {answer.url}")
            ),
        )
        return page

    yield make
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def page(open_page) -> Page:
    return open_page()


@pytest.fixture
def worker(live_server):
    """Works on simulated runs, 5 steps a tick, until the test ends."""
    executor = SimulatedExecutor(steps_a_poll=5)
    loop = WorkerLoop(
        name="browser-tests", executors={ExecutorName.SIMULATED: executor}, tick_seconds=0.2
    )

    def work():
        try:
            loop.run()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    yield loop
    loop.stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
