"""Imports of ES modules name hashed files, so that browsers may keep every file forever."""

import re
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

pytestmark = pytest.mark.usefixtures("sources")


@pytest.fixture
def sources(tmp_path: Path, settings: Settings) -> Path:
    settings.STATICFILES_DIRS = [tmp_path / "sources"]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "trainhub.static_storage.StaticFilesStorage"},
    }
    return tmp_path / "sources"


def built(sources: Path, settings: Settings, files: dict[str, str], name: str) -> str:
    """The hashed version of ``name`` once ``files`` are collected."""
    for path, text in files.items():
        (sources / path).parent.mkdir(parents=True, exist_ok=True)
        (sources / path).write_text(text)
    call_command("collectstatic", interactive=False, verbosity=0)
    stem, suffix = name.rsplit(".", 1)
    [path] = Path(settings.STATIC_ROOT).glob(f"{stem}.????????????.{suffix}")
    return path.read_text()


def test_import_of_a_module_names_the_hashed_file(sources: Path, settings: Settings):
    files = {
        "js/page.js": 'import { mean } from "./lib/numbers.js";\n',
        "js/lib/numbers.js": "export const mean = 0;\n",
    }

    text = built(sources, settings, files, "js/page.js")

    assert re.fullmatch(r'import \{ mean \} from "\./lib/numbers\.\w{12}\.js";\n', text)


def test_change_of_an_imported_module_renames_those_that_import_it(
    sources: Path, settings: Settings
):
    files = {
        "js/page.js": 'import { mean } from "./numbers.js";\n',
        "js/numbers.js": "export const mean = 0;\n",
    }
    before = built(sources, settings, files, "js/page.js")
    Path(settings.STATIC_ROOT).rename(sources.parent / "before")

    after = built(sources, settings, {"js/numbers.js": "export const mean = 1;\n"}, "js/page.js")

    assert after != before


def test_other_scripts_are_left_as_they_are(sources: Path, settings: Settings):
    text = "const help = 'import { a } from \"./missing.js\";';\n"

    assert built(sources, settings, {"bundle/help.js": text}, "bundle/help.js") == text
