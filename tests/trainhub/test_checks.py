"""Contradictory settings are reported before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from trainhub.checks import (
    data_directory_is_usable,
    open_mode_has_loopback_names,
    open_mode_stays_on_loopback,
    production_hides_tracebacks,
    refuse_contradictions,
)

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def ids(messages: list) -> list[str]:
    return [message.id for message in messages]


@pytest.fixture(autouse=True)
def open_mode(settings: Settings) -> None:
    settings.OPEN_MODE = True
    settings.PRODUCTION = False
    settings.HOST = "127.0.0.1"
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"]
)
def test_open_mode_on_loopback_is_allowed(settings: Settings, host: str):
    settings.HOST = host

    assert open_mode_stays_on_loopback(None) == []


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "[::]",
        "",
        "192.168.1.7",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "trainhub.example",
        "localhost.example",
        "127.0.0.1.example",
    ],
)
def test_open_mode_on_another_host_is_refused(settings: Settings, host: str):
    settings.HOST = host

    assert ids(open_mode_stays_on_loopback(None)) == ["trainhub.E002"]


def test_open_mode_in_production_is_refused(settings: Settings):
    settings.PRODUCTION = True

    assert ids(open_mode_stays_on_loopback(None)) == ["trainhub.E001"]


@pytest.mark.parametrize("production", [True, False])
def test_sign_in_allows_any_host(settings: Settings, production: bool):
    settings.OPEN_MODE = False
    settings.PRODUCTION = production
    settings.HOST = "0.0.0.0"
    settings.ALLOWED_HOSTS = ["trainhub.example"]

    assert open_mode_stays_on_loopback(None) == []
    assert open_mode_has_loopback_names(None) == []


@pytest.mark.parametrize("name", ["*", ".example", "trainhub.example", "192.168.1.7"])
def test_open_mode_with_a_non_loopback_name_is_refused(settings: Settings, name: str):
    settings.ALLOWED_HOSTS = ["localhost", name]

    assert ids(open_mode_has_loopback_names(None)) == ["trainhub.E004"]


def test_open_mode_with_loopback_names_is_allowed():
    assert open_mode_has_loopback_names(None) == []


def test_debug_in_production_is_refused(settings: Settings):
    settings.OPEN_MODE = False
    settings.PRODUCTION = settings.DEBUG = True

    assert ids(production_hides_tracebacks(None)) == ["trainhub.E003"]


def test_debug_outside_production_is_allowed(settings: Settings):
    settings.DEBUG = True

    assert production_hides_tracebacks(None) == []


def test_data_directory_that_is_a_file_is_refused(settings: Settings, tmp_path: Path):
    settings.DATA_DIR = tmp_path / "file"
    settings.DATA_DIR.write_text("")

    messages = data_directory_is_usable(None)

    assert ids(messages) == ["trainhub.E005"]
    assert str(settings.DATA_DIR) in messages[0].msg


def test_data_directory_is_created(settings: Settings, tmp_path: Path):
    settings.DATA_DIR = tmp_path / "new" / "var"

    assert data_directory_is_usable(None) == []
    assert settings.DATA_DIR.is_dir()


def test_other_wsgi_server_is_refused_too(settings: Settings):
    settings.HOST = "0.0.0.0"

    with pytest.raises(ImproperlyConfigured, match=r"refused on 0\.0\.0\.0, which is not loopback"):
        refuse_contradictions()


# --- in subprocesses -------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", [["check"], ["run_worker"], ["migrate"], ["advance_runs"]])
def test_every_command_refuses_open_mode_on_all_interfaces(command: list[str]):
    finished = run("manage.py", *command, TRAINHUB_HOST="0.0.0.0")

    assert finished.returncode == 1
    assert "Open mode (no sign-in) is refused on 0.0.0.0" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_every_command_refuses_open_mode_in_production():
    finished = run("manage.py", "check", TRAINHUB_PRODUCTION="true", TRAINHUB_OPEN_MODE="true")

    assert finished.returncode == 1
    assert "refused in production" in finished.stderr


def test_production_requires_sign_in_by_default():
    finished = run(
        "-c",
        "from trainhub import settings; print(settings.OPEN_MODE)",
        TRAINHUB_PRODUCTION="true",
        TRAINHUB_SECRET_KEY="x" * 60,
    )

    assert finished.stdout == "False\n", finished.stderr


def test_wsgi_application_does_not_load_if_open_mode_is_refused():
    finished = run("-c", "import trainhub.wsgi", TRAINHUB_HOST="0.0.0.0")

    assert finished.returncode != 0
    assert "Open mode (no sign-in) is refused on 0.0.0.0" in finished.stderr


def test_variable_with_an_old_name_is_reported():
    finished = run("manage.py", "check", TRAINHUB_WORKER_SEATS="2")

    assert finished.returncode == 0
    assert "TRAINHUB_WORKER_SEATS is ignored: rename it to TRAINHUB_WORKER_SLOTS" in finished.stderr
