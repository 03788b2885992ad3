"""Fixtures for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.up_process import UpProcess, up_process


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
