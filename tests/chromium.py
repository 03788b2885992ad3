"""Finds a Chromium, or takes Playwright's own download, and says which tests had none.

CHROMIUM names a browser's path. In CI, tests without a browser fail; elsewhere they are skipped.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Playwright, sync_playwright

from tests.up_process import free_port

# The first has no window around its pages: opening one takes a fifth of the processor's time.
CHROMIUMS = (
    *("chromium-headless-shell", "chrome-headless-shell"),
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
)
DOWNLOAD_SECONDS = 300
NONE_FOUND = "no Chromium: apt install chromium, or set CHROMIUM to a browser's path"
FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    # Connect to nothing but the server under test.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def system_chromium() -> str | None:
    """The path of the browser that CHROMIUM names or the system has."""
    configured = os.environ.get("CHROMIUM")
    return configured or next(filter(None, map(shutil.which, CHROMIUMS)), None)


def launch(playwright: Playwright, *flags: str) -> Browser:
    """Start the system's Chromium, else Playwright's own, which is downloaded if it is missing.

    Raises FileNotFoundError if there is none.
    """
    path = system_chromium() or downloaded(playwright.chromium.executable_path)
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


@contextmanager
def kept_chromium() -> Iterator[str]:
    """A Chromium for many tests, and the address at which each connects to it: starting one takes
    longer than many a test. It is in a thread of its own, so that the event loop that Playwright
    keeps running for it is not in that of the tests.

    Raises FileNotFoundError if there is none.
    """
    started: Future[str] = Future()
    ended = threading.Event()

    def keep() -> None:
        address = f"http://127.0.0.1:{free_port()}"
        with sync_playwright() as playwright:
            try:
                browser = launch(playwright, f"--remote-debugging-port={urlsplit(address).port}")
            except (FileNotFoundError, Error) as error:
                started.set_exception(error)
                return
            started.set_result(address)
            ended.wait()
            browser.close()

    thread = threading.Thread(target=keep, name="chromium")
    thread.start()
    try:
        yield started.result()
    finally:
        ended.set()
        thread.join()


def downloaded(path: str) -> str:
    """``path``, at which Playwright's own Chromium is. Raises FileNotFoundError."""
    with _alone() as failed:
        if not Path(path).exists() and not failed.exists():
            command = [sys.executable, "-m", "playwright", "install", "chromium"]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
            except (subprocess.SubprocessError, OSError):
                failed.touch()
    if not Path(path).exists():
        raise FileNotFoundError(NONE_FOUND)
    return path


@contextmanager
def _alone() -> Iterator[Path]:
    """Keep other processes of this test session from downloading too. The path that is returned is
    there once a download has failed."""
    directory = Path(os.environ.get("TRAINHUB_TEST_DIR") or "/tmp")
    with (directory / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory / "chromium.failed"


@contextmanager
def kept_chromium_or_skip() -> Iterator[str]:
    """For fixtures: without a browser, skip the test, or fail it in CI."""
    try:
        with kept_chromium() as address:
            yield address
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def not_looked_at(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """What to say at the end of the session about browser tests among ``skipped``; nothing if there
    are none."""
    files = Counter(
        report.nodeid.partition("::")[0] for report in skipped if "browser" in report.keywords
    )
    if not files:
        return []
    lines = [f"{files.total()} tests with a browser were skipped: {NONE_FOUND}"]
    return lines + [f"  {count:4} of {file}" for file, count in sorted(files.items())]
