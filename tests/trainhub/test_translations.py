"""Every text shown to users is translated."""

import gettext
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings as project_settings
from django.core.management import call_command

from trainhub.management.commands.makemessages import IGNORE_PATTERNS

CATALOGS = sorted(Path(project_settings.BASE_DIR, "locale").glob("*/LC_MESSAGES/django.po"))

needs_gettext = pytest.mark.skipif(
    shutil.which("xgettext") is None and "CI" not in os.environ,
    reason="needs GNU gettext (apt install gettext)",
)


def messages(path):
    with path.open("rb") as file:
        return gettext.GNUTranslations(file)._catalog


def test_each_language_has_a_catalog():
    assert [path.parts[-3] for path in CATALOGS] == ["en", "zh_Hans"]


@pytest.fixture
def sources(tmp_path, monkeypatch, settings):
    """A copy of the sources: makemessages overwrites catalogs and puts files next to templates."""
    for folder in Path(settings.BASE_DIR).iterdir():
        if folder.is_dir() and folder.name[0] != "." and folder.name not in IGNORE_PATTERNS:
            shutil.copytree(folder, tmp_path / folder.name)
    settings.LOCALE_PATHS = [str(tmp_path / "locale")]
    monkeypatch.chdir(tmp_path)
    return tmp_path


@needs_gettext
@pytest.mark.parametrize("language", ["en", "zh_Hans"])
def test_every_text_in_the_code_is_translated(language, sources):
    catalog = sources / "locale" / language / "LC_MESSAGES" / "django.po"

    call_command("makemessages", locale=[language], verbosity=0)

    missing = [
        subprocess.run(
            ["msgattrib", kind, "--no-wrap", str(catalog)], capture_output=True, text=True
        ).stdout
        for kind in ("--untranslated", "--only-fuzzy")
    ]
    assert missing == ["", ""]


@needs_gettext
@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda path: path.parts[-3])
def test_compiled_catalog_matches_its_source(catalog, tmp_path):
    new = tmp_path / "django.mo"

    subprocess.run(["msgfmt", "--check-format", "-o", str(new), str(catalog)], check=True)

    assert messages(catalog.with_suffix(".mo")) == messages(new)
