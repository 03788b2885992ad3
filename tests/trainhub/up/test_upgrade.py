"""A database of the release before, filled, is migrated: all that it had reads the same, and nobody
can do less than before, or more."""

import json
import os
import subprocess
import sys

import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from tests.trainhub.up import release_before
from tests.trainhub.up.release_before import LINES, OTHER, PROJECT, RUN, SAVED, STEPS
from tests.trainhub.up.test_schema_upgrade import OldDatabase
from tests.workers import database_url

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db,
    pytest.mark.xdist_group("schema-upgrade"),
]


def python(url: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": url, "TRAINHUB_OPEN_MODE": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def answers(django_db_setup, django_db_blocker):
    """What the API tells each caller of the upgraded database."""
    name = f"release_before_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    database = sql.Identifier(name)
    url = OldDatabase(name).url
    with django_db_blocker.unblock(), psycopg.connect(database_url(), autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        server.execute(sql.SQL("CREATE DATABASE {}").format(database))
        python(url, release_before.__file__, "fill")
        python(url, "manage.py", "migrate", "--no-input", "--verbosity", "0")
        python(url, "manage.py", "migrate", "--check")
        yield json.loads(python(url, release_before.__file__, "read").splitlines()[-1])
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@pytest.fixture
def body(answers):
    def of(what: str, by: str = "anna"):
        answer = answers[by][what]
        assert answer["status"] == 200, answer
        return answer["body"]

    return of


def rows(body) -> list:
    return body if isinstance(body, list) else body["items"]


def test_earlier_tokens_stay_valid_and_others_are_refused(answers):
    assert {answers[name]["projects"]["status"] for name in ("anna", "ben")} == {200}
    assert {answer["status"] for answer in answers["nobody"].values()} == {401}


def test_token_of_a_script_works_for_its_run_alone(answers):
    assert answers["run"]["its lines"]["status"] == 201
    assert answers["run"]["other lines"]["status"] == 403


def test_projects_are_there_for_everybody(body):
    for name in ("anna", "ben"):
        found = {project["id"]: project["name"] for project in rows(body("projects", name))}
        assert found == {PROJECT: "翻译", OTHER: "other"}


def test_run_reads_the_same(body):
    run = body("run")

    assert (run["id"], run["name"], run["status"]) == (RUN, "sft-001", "已完成")
    assert run["hyperparameters"] == {"lr": 3e-4}
    assert run["metrics"] == {"loss": 1.0 / STEPS}
    assert [row["status"] for row in rows(body("runs"))].count("排队中") == 1


def test_points_and_lines_read_the_same(body):
    (series,) = rows(body("points"))
    points = {(point["step"], point["value"]) for point in series["points"]}

    assert points == {(step, 1.0 / step) for step in range(1, STEPS + 1)}
    assert [line["message"] for line in rows(body("lines"))] == LINES


def test_released_checkpoint_and_its_model_read_the_same(body):
    (saved,) = rows(body("artifacts"))

    assert (saved["id"], saved["step"]) == (SAVED, STEPS)
    assert "发布" in json.dumps(saved, ensure_ascii=False)
    assert body("model")["model_version"]["version"] == "1"


def test_whoever_created_a_project_owns_it_and_all_others_maintain_it(body):
    assert body("access", "anna")["your_role"] == "owner"
    assert body("access", "ben")["your_role"] == "maintainer"
    assert "gone" not in json.dumps(body("access"))


def test_history_of_runs_stays_and_the_audit_begins_empty(body):
    assert [event["kind"] for event in rows(body("events"))] == ["created"]
    assert rows(body("audit")) == []
