"""Contradictory settings are reported by each command, before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

REPOSITORY = Path(__file__).resolve().parent.parent.parent


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


PRODUCTION = {
    "TRAINHUB_PRODUCTION": "true",
    "TRAINHUB_SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "TRAINHUB_ALLOWED_HOSTS": "trainhub.example.org",
}


@pytest.mark.parametrize("command", ["run_worker", "serve"])
def test_production_does_not_start_over_plain_http(command: str):
    finished = run("manage.py", command, **PRODUCTION)

    assert finished.returncode == 1
    assert "Production is refused over plain HTTP" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_wsgi_application_does_not_load_in_production_over_plain_http():
    finished = run("-c", "import trainhub.wsgi", **PRODUCTION)

    assert finished.returncode != 0
    assert "Production is refused over plain HTTP" in finished.stderr


def test_production_of_several_hosts_makes_up_no_key(tmp_path: Path):
    of_a_host = {"DATABASE_URL": "postgresql://a@127.0.0.1:1/a", "TRAINHUB_DATA_DIR": str(tmp_path)}
    for _attempt in range(2):
        finished = run(
            *("manage.py", "run_worker"),
            **{**PRODUCTION, **of_a_host, "TRAINHUB_HTTPS": "true", "TRAINHUB_SECRET_KEY": ""},
        )

        assert finished.returncode == 1
        assert "needs TRAINHUB_SECRET_KEY" in finished.stderr
    assert not (tmp_path / "secret_key").exists()


def test_production_passes_the_checks_for_deployment():
    finished = run(
        *("manage.py", "check", "--deploy", "--fail-level", "WARNING"),
        **(PRODUCTION | {"TRAINHUB_HTTPS": "true", "TRAINHUB_TRUSTED_PROXIES": "10.0.0.1"}),
    )

    assert finished.returncode == 0, finished.stderr
    assert "no issues" in finished.stdout


def test_cookies_over_https_are_bound_to_the_host():
    names = "SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"
    code = f"from trainhub import settings as s; print([getattr(s, n) for n in {names!r}])"

    finished = run("-c", code, **(PRODUCTION | {"TRAINHUB_HTTPS": "true"}))

    assert finished.stdout == "['__Host-sessionid', '__Host-csrftoken', True, True]\n"


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


def test_worker_refuses_an_unknown_user_of_trainings_and_the_web_server_does_not():
    unknown = {"TRAINHUB_TRAINING_USER": "no-such-user"}

    worker = run("manage.py", "run_worker", **unknown)

    assert worker.returncode == 1
    assert "there is no user no-such-user on this host" in worker.stderr
    assert "Traceback" not in worker.stderr
    assert run("manage.py", "check", **unknown).returncode == 0


def test_a_python_without_the_dependencies_is_told_which_one_has_them():
    finished = run("-S", "manage.py", "check")  # -S: without installed packages

    assert finished.returncode == 1
    assert "run `make up` once, then .venv/bin/python manage.py" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(("language", "sentence"), [("C", "Start it"), ("zh_CN.UTF-8", "请启动")])
def test_a_command_says_that_the_database_does_not_answer(language: str, sentence: str):
    nowhere = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x", "LC_ALL": language}
    finished = run("manage.py", "export_run", "run_x", **nowhere)

    assert finished.returncode == 1
    assert sentence in finished.stderr
    assert "Traceback" not in finished.stderr


# --- sign-in ---------------------------------------------------------------------------------
