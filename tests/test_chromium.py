"""Where the browser of the tests comes from, and what is said without one."""

import subprocess

import pytest

from tests import chromium


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("TRAINHUB_TEST_DIR", str(tmp_path))


def report(name: str, *keywords: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=f"tests/browser/{name}.py::test_it",
        location=(name, 0, "test_it"),
        keywords=dict.fromkeys(keywords, 1),
        outcome="skipped",
        longrepr=None,
        when="setup",
    )


def test_configured_browser_comes_before_the_systems(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/opt/browser")

    assert chromium.system_chromium() == "/opt/browser"


def test_missing_browser_is_downloaded(monkeypatch, tmp_path):
    path = tmp_path / "headless"
    monkeypatch.setattr(subprocess, "run", lambda *_command, **_options: path.touch())

    assert chromium.downloaded(str(path)) == str(path)


def test_failed_download_is_not_tried_again(monkeypatch, tmp_path):
    commands = []

    def fail(command, **_options):
        commands.append(command)
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", fail)

    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="no Chromium"):
            chromium.downloaded(str(tmp_path / "headless"))
    assert len(commands) == 1


def test_end_of_the_session_names_files_without_a_browser():
    skipped = [report("test_pages", "browser"), report("test_pages", "browser"), report("other")]

    first, *others = chromium.not_looked_at(skipped)

    assert first.startswith("2 tests with a browser were skipped")
    assert others == ["     2 of tests/browser/test_pages.py"]


def test_end_of_the_session_is_silent_if_no_browser_test_was_skipped():
    assert chromium.not_looked_at([report("other")]) == []
