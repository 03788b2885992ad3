"""Fixtures for every test."""

from pathlib import Path

import pytest
from pytest_django import Settings


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
