"""Fixtures for every test."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import TransactionTestCase
from pytest_django import Settings

from tests.up_process import UpProcess, up_process


def flush_and_restore(case: TransactionTestCase) -> None:
    """Leave what the migrations have written, as a test's rollback would.

    Django restores it before the next test that asks for ``serialized_rollback`` only, and tests
    after one with ``transaction=True`` would find no recipes and no content types.
    """
    flush(case)
    contents = getattr(connection, "_test_serialized_contents", None)
    if contents is not None:
        connection.creation.deserialize_db_from_string(contents)


def empty_database() -> None:
    """The same for a fixture of several tests, all of which ask for ``serialized_rollback``."""
    call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
    connection.creation.deserialize_db_from_string(connection._test_serialized_contents)


flush = TransactionTestCase._fixture_teardown
TransactionTestCase._fixture_teardown = flush_and_restore


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests with the same id xdist runs one and says nothing of the others."""
    doubled = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if doubled:
        raise pytest.UsageError(f"Several tests have the same id: {', '.join(doubled)}")


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
