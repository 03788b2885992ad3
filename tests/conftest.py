"""Fixtures for every test."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import translation
from pytest_django import DjangoDbBlocker, Settings

from tests.chromium import not_looked_at
from tests.emptying import MigratedRows
from tests.up_process import UpProcess, up_process

DATABASE = pytest.StashKey[DjangoDbBlocker]()


@pytest.fixture(scope="session", autouse=True)
def database_for_hooks(pytestconfig: pytest.Config, django_db_blocker: DjangoDbBlocker) -> None:
    """Lets the hook below use the database."""
    pytestconfig.stash[DATABASE] = django_db_blocker


@pytest.fixture(scope="session", autouse=True)
def patient_transactions() -> None:
    """The transaction of a test may do nothing for long, e.g. while a process starts."""
    settings.SESSION_LIMITS["idle_in_transaction_session_timeout"] = "0"


@pytest.fixture(scope="session", autouse=True)
def audit_can_be_emptied() -> None:
    """With all other tables, after a test that commits."""
    settings.SESSION_LIMITS["trainhub.audit"] = "emptied"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Also keeps a copy of what the migrations have written."""
    with django_db_blocker.unblock():
        MigratedRows().install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Restore what the migrations have written after a test that empties the database.

    Django does so only before the next test that asks for ``serialized_rollback``; any other test
    would find no recipes and no content types.
    """
    result = yield
    if nextitem is not None and _is_transactional(item):
        with item.config.stash[DATABASE].unblock():
            restore_migrated_rows()
    return result


def _is_transactional(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    if marker is not None and marker.kwargs.get("transaction"):
        return True
    return not {"transactional_db", "live_server"}.isdisjoint(getattr(item, "fixturenames", ()))


def restore_migrated_rows() -> None:
    connection.creation.deserialize_db_from_string("")


def empty_database() -> None:
    """For a fixture of several tests, all of which ask for ``serialized_rollback``."""
    call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
    restore_migrated_rows()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests with the same id xdist runs one and says nothing of the others."""
    doubled = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if doubled:
        raise pytest.UsageError(f"Several tests have the same id: {', '.join(doubled)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which browser tests had no browser."""
    for line in not_looked_at(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture
def english() -> Iterator[None]:
    """The texts of errors and answers are English."""
    with translation.override("en"):
        yield


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, settings: Settings) -> None:
    """Artifacts and work directories of one test are not another's."""
    settings.WORK_DIR = tmp_path / "runs"
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        "artifacts": {
            "BACKEND": "artifacts.storage.DurableFileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "artifacts")},
        },
    }


@pytest.fixture(scope="session")
def up_at_walking_speed() -> Iterator[UpProcess]:
    """A running `manage.py up`, its simulations slow enough to be watched and cancelled.

    Tests that use it belong to the xdist group "walking".
    """
    with up_process(TRAINHUB_SIMULATION_STEPS_PER_SECOND="40") as up:
        up.start()
        yield up
