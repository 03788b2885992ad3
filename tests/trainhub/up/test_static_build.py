"""Static files are built on the first start and after a change, not on every start."""

import os
from pathlib import Path

import pytest
from pytest_django import Settings

from trainhub.up.static_build import build_static_files


@pytest.fixture
def source(tmp_path: Path, settings: Settings) -> Path:
    """The only static source file, built into static/ in the data directory."""
    source = tmp_path / "sources" / "page.css"
    source.parent.mkdir()
    source.write_text("p { color: black }")
    settings.STATICFILES_DIRS = [source.parent]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    settings.STATIC_ROOT = settings.DATA_DIR / "static"
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "trainhub.static_storage.StaticFilesStorage"},
    }
    return source


def built(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.STATIC_ROOT.glob("*.css"))


def test_first_build_creates_hashed_files_and_a_manifest(source: Path, settings: Settings):
    assert build_static_files() is True

    assert (settings.STATIC_ROOT / "staticfiles.json").exists()
    assert len(built(settings)) == 2  # page.css, page.<hash>.css


def test_build_without_a_change_is_skipped(source: Path):
    build_static_files()

    assert build_static_files() is False


def test_changed_source_with_an_old_mtime_is_built(source: Path, settings: Settings):
    build_static_files()
    before = built(settings)
    source.write_text("p { color: darkred }")
    os.utime(source, (0, 0))  # npm also sets old times

    assert build_static_files() is True

    assert (settings.STATIC_ROOT / "page.css").read_text() == "p { color: darkred }"
    assert built(settings) != before


def test_file_left_half_written_by_a_killed_build_is_rebuilt(source: Path, settings: Settings):
    settings.STATIC_ROOT.mkdir()
    (settings.STATIC_ROOT / "page.css").write_text("p { col")

    assert build_static_files() is True

    assert (settings.STATIC_ROOT / "page.css").read_text() == "p { color: black }"


def test_other_files_in_an_external_directory_are_kept(source: Path, settings: Settings):
    settings.STATIC_ROOT = settings.DATA_DIR.parent / "elsewhere"
    settings.STATIC_ROOT.mkdir()
    (settings.STATIC_ROOT / "theirs.txt").touch()

    build_static_files()

    assert (settings.STATIC_ROOT / "theirs.txt").exists()
