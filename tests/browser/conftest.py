"""Fixtures for tests with a real browser, server, and worker: see tests/chromium.py."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from execution.executors.simulated import SimulatedExecutor
from execution.worker import WorkerLoop
from runs.models import ExecutorName
from tests.browser.site import Site, demo_site
from tests.chromium import kept_chromium_or_skip
from tests.conftest import empty_database

# They take more minutes than make test has: make test-pages runs them, and only them.
LONG = {
    "test_charts.py",
    "test_compare.py",
    "test_home.py",
    "test_oidc.py",
    "test_pages.py",
    "test_policy.py",
    "test_recipes.py",
    "test_release.py",
    "test_run_actions.py",
    "test_run_page.py",
    "test_run_table.py",
}
_FILES = {path.name for path in Path(__file__).parent.glob("test_*.py")}
collect_ignore = sorted(_FILES - LONG if os.environ.get("TEST_PAGES") else LONG)

PATIENCE_MS = 30_000
REFUSED_FORM = 422
OpenPage = Callable[..., Page]
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server on the demo data: tests only read, or change what they create."""
    with demo_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium_address() -> Iterator[str]:
    """Of the Chromium of this process."""
    with kept_chromium_or_skip() as address:
        yield address


@pytest.fixture
def browser(live_server, chromium_address, monkeypatch):
    """Chromium for one test, entered after the test database is ready and left before teardown.

    Playwright's synchronous API keeps an event loop running in this thread, and in such a thread
    Django opens separate connections: they must neither mix with the database fixtures nor outlive
    the loop.
    """
    with _chromium(chromium_address, monkeypatch) as browser:
        yield browser


@pytest.fixture(scope="module")
def chromium(chromium_address: str) -> Iterator[Browser]:
    """Chromium for the tests of a module that touch no database: see ``site``."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect_over_cdp(chromium_address)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, live_server) -> Iterator[OpenPage]:
    with _pages(browser, live_server.url) as make:
        yield make


@pytest.fixture
def open_site_page(chromium: Browser, site: Site) -> Iterator[OpenPage]:
    """``open_page`` on the demo data."""
    with _pages(chromium, site.url) as make:
        yield make


@pytest.fixture(scope="module")
def kept_server(django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    """A server on the test database, which keeps what the tests of a module store until the last
    one has run: for tests that look only at what they have stored. Their module replaces the
    fixture of pytest-django that would roll it back, and they are an xdist group."""
    with django_db_blocker.unblock():
        server = LiveServer("localhost")
        server._live_server_modified_settings.enable()
        yield server
        server.stop()
        server._live_server_modified_settings.disable()
        empty_database()


@pytest.fixture(scope="module")
def kept_browser(kept_server: LiveServer, chromium_address: str) -> Iterator[Browser]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        _chromium(chromium_address, monkeypatch) as browser,
    ):
        yield browser


@pytest.fixture
def open_kept_page(kept_browser: Browser, kept_server: LiveServer) -> Iterator[OpenPage]:
    """``open_page`` on the server that keeps what is stored."""
    with _pages(kept_browser, kept_server.url) as make:
        yield make


@contextmanager
def _chromium(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect_over_cdp(address)
        yield browser
        browser.close()
        connections.close_all()


@contextmanager
def _pages(browser: Browser, url: str) -> Iterator[OpenPage]:
    """Open pages, and fail the test if any of them had a script error, a server error, or got
    something that it asked for refused. A form may be."""
    contexts, problems = [], []

    def make(**options) -> Page:
        options.setdefault("locale", "zh-CN")
        context = browser.new_context(base_url=url, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on(
            "console",
            lambda message: (
                message.type == "error"
                and not message.text.startswith("Failed to load resource")  # told by its URL below
                and problems.append(message.text)
            ),
        )
        page.on(
            "response",
            lambda response: (
                response.status >= 400
                and response.status != REFUSED_FORM
                and problems.append(f"{response.status} {response.url}")
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
    """A worker that executes simulated runs, 5 steps per tick, until the test ends."""
    executor = SimulatedExecutor(steps_per_poll=5)
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
    loop.stopping.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
