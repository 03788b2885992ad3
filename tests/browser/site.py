"""A web server on the demo data, which the page tests of a session share.

The tests of a process have a server of their own; all servers have one database, filled once.
Nothing here opens a connection: a browser's tests must not mix with the database fixtures.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings
from playwright.sync_api import Page

from tests.web_server import web_server
from trainhub.demo.loading import IDS
from trainhub.demo.texts import CHINESE as TEXTS

DATABASE = "demo"
OPERATOR, PASSWORD = "operator", "chosen-for-tests"


class Site(NamedTuple):
    """A running server. ``projects``: pretraining, tuning … → id; ``runs``: name → id."""

    url: str
    database_url: str
    projects: dict[str, str]
    runs: dict[str, str]

    @property
    def names(self) -> dict[str, str]:
        """pretraining, tuning … → the name of the project."""
        return {"pretraining": TEXTS.pretraining.name, "tuning": TEXTS.tuning.name}

    @property
    def people(self) -> tuple[str, ...]:
        return TEXTS.people

    def query(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def run(self, name: str) -> str:
        """The address of a run's page."""
        query = "SELECT project_id FROM runs_run WHERE id = %s"
        [(project_id,)] = self.query(query, self.runs[name])
        return f"/dashboard/projects/{project_id}/runs/{self.runs[name]}"

    def project(self, name: str) -> str:
        return f"/dashboard/projects/{self.projects[name]}"


@contextmanager
def demo_site(own: Path) -> Iterator[Site]:
    """``own``: an empty folder for this server."""
    shared = Path(os.environ["TRAINHUB_TEST_DIR"]) / "demo"
    url = _database_url(DATABASE)
    with _prepared(shared, url):
        own.mkdir(exist_ok=True)
        (own / "artifacts").symlink_to(shared / "artifacts", target_is_directory=True)
    environment = {
        "TRAINHUB_STATIC_ROOT": shared / "static",
        "TRAINHUB_WEB_PROCESSES": 1,
        "TRAINHUB_SECRET_KEY": "of all servers, since they share the database" * 2,
    }
    with web_server(own, DATABASE_URL=url, **environment) as server:
        yield read_site(server.url, url)


def read_site(url: str, database_url: str) -> Site:
    """The server at ``url``, with what is in its database."""
    site = Site(url, database_url, IDS, {})
    query = "SELECT name, id FROM runs_run ORDER BY created_at"
    return site._replace(runs={str(name): str(id) for name, id in site.query(query)})


def sign_in(page: Page) -> None:
    """As the operator whom tests/browser/demo_data.py adds."""
    page.goto("/admin/login/?next=/dashboard/projects/new")
    if "/login" not in page.url:
        return  # is signed in already
    page.locator("[name=username]").fill(OPERATOR)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[type=submit]").click()
    page.wait_for_url(lambda url: "/login" not in url)


@contextmanager
def _prepared(shared: Path, url: str) -> Iterator[None]:
    """With the database and the files there, made by the first process that wants them."""
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "ready").exists():
            with psycopg.connect(_database_url("postgres"), autocommit=True) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}".encode())
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
            environment = os.environ | {
                "DATABASE_URL": url,
                "TRAINHUB_DATA_DIR": str(shared),
                "DJANGO_SETTINGS_MODULE": "trainhub.settings",
            }
            command = [sys.executable, "-m", "tests.browser.demo_data"]
            subprocess.run(command, check=True, cwd=settings.BASE_DIR, env=environment)
            (shared / "ready").touch()
        yield


def _database_url(name: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
