"""What the API, MLflow's protocol and pages answer while the database does not serve."""

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import translation

from core import gates, refusals, sessions
from core.database_errors import (
    DatabaseBusy,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseSlow,
    problem_of,
)
from logs.models import LogLine
from projects.models import Project
from runs.models import Run
from runs.models.run_queryset import ROW
from runs.status import RunStatus
from tests.concurrency import transaction_elsewhere
from tests.factories import ProjectFactory, RunFactory

NEW_PROJECT = {
    "name": "a",
    "task_type": "b",
    "base_model": "c",
    "owner": "d",
    "default_hyperparameters": {},
}
COMMITTED = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def execute(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def short_wait():
    """Of this thread's session for locks."""
    execute("SET lock_timeout = '50ms'")
    yield
    connection.close()


def post_line(client, run):
    path = f"/projects/{run.project_id}/runs/{run.pk}/logs"
    return client.post(path, {"lines": [{"message": "a"}]}, content_type="application/json")


def code_of(response):
    return response.json()["errors"][0]["code"]


# --- kinds -----------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)", DatabaseSlow),
        ("SET TRANSACTION READ ONLY; DELETE FROM runs_recipe", DatabaseReadOnly),
        ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", DatabaseFull),
        ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", DatabaseBusy),
    ],
)
def test_error_of_the_database_is_a_problem_of_its_kind(statement, kind):
    with pytest.raises(Exception) as raised, transaction.atomic():
        execute(statement)

    assert type(problem_of(raised.value)) is kind


@pytest.mark.django_db
def test_error_of_a_statement_is_no_problem_of_the_database():
    with pytest.raises(Exception) as raised, transaction.atomic():
        execute("SELECT 1 / 0")

    assert problem_of(raised.value) is None


# --- answers ---------------------------------------------------------------------------------


@COMMITTED
@pytest.mark.usefixtures("short_wait")
def test_locked_run_is_answered_with_503_and_nothing_is_stored(client: Client):
    run = RunFactory(recipe=None, status=RunStatus.RUNNING)

    with transaction_elsewhere(lambda: Run.objects.lock(run.pk)):
        refused = post_line(client, run)

    assert (refused.status_code, code_of(refused)) == (503, "database_busy")
    assert refused.headers["Retry-After"] == "1"
    assert not LogLine.objects.filter(run=run).exists()
    assert post_line(client, run).status_code == 201


@COMMITTED
@pytest.mark.usefixtures("short_wait")
def test_metric_of_a_locked_run_is_answered_in_the_form_of_each_protocol(client: Client):
    run = RunFactory(recipe=None, status=RunStatus.RUNNING)
    path = f"/projects/{run.project_id}/runs/{run.pk}/metrics"
    point = {"key": "loss", "value": 1.0, "step": 1}

    with transaction_elsewhere(lambda: Run.objects.lock(run.pk)):
        rest = client.post(
            path,
            {"points": [{**point, "timestamp": "2024-01-02T10:15:00Z"}]},
            content_type="application/json",
        )
        mlflow = client.post(
            "/api/2.0/mlflow/runs/log-metric",
            {"run_id": run.pk, "timestamp": 1_700_000_000_000, **point},
            content_type="application/json",
        )

    assert (rest.status_code, mlflow.status_code) == (503, 503)
    assert mlflow.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert mlflow.headers["Retry-After"] == "1"


@pytest.mark.django_db
def test_full_database_is_answered_with_507(client: Client):
    execute(
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE SQLSTATE '53100'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON projects_project"
        " FOR EACH ROW EXECUTE FUNCTION fill()"
    )

    with translation.override("en"), transaction.atomic():
        response = client.post("/projects", NEW_PROJECT, content_type="application/json")
        transaction.set_rollback(True)

    assert (response.status_code, code_of(response)) == (507, "database_full")
    assert response.headers["Retry-After"] == "30"


@pytest.fixture
def read_only():
    """The database, for this thread's session."""
    execute("SET default_transaction_read_only = on")
    yield
    connection.close()


@COMMITTED
def test_read_only_database_is_answered_with_503_until_it_can_be_written(client: Client, caplog):
    execute("SET default_transaction_read_only = on")
    try:
        refused = [
            client.post("/projects", NEW_PROJECT, content_type="application/json") for _ in range(3)
        ]
    finally:
        execute("SET default_transaction_read_only = off")
    stored = client.post("/projects", NEW_PROJECT, content_type="application/json")

    assert {(it.status_code, code_of(it)) for it in refused} == {(503, "database_read_only")}
    assert stored.status_code == 201
    assert Project.objects.count() == 1
    lines = [record.getMessage() for record in caplog.records if record.name == refusals.__name__]
    assert len(lines) == 2, lines  # it is read-only; it is not any more, and 2 more were refused
    assert "2 more" in lines[1]
    assert "Traceback" not in caplog.text


@COMMITTED
@pytest.mark.parametrize(("language", "sentence"), [("en", "read-only"), ("zh-hans", "只读")])
@pytest.mark.usefixtures("read_only")
def test_page_says_in_its_readers_language_that_the_database_is_read_only(language, sentence):
    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    project = {"name": "a", "task_type": "b", "base_model": "c", "owner": "d"}

    response = client.post(
        "/dashboard/projects/new",
        {**project, "default_hyperparameters": "{}"},
        headers={"Accept-Language": language},
    )

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "30"
    assert sentence in response.content.decode()


# --- many who wait for one run ---------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch, settings):
    """A process that answers requests with two threads; one may wait for a run."""
    monkeypatch.setattr(gates, "PATIENCE_SECONDS", 0.0)
    settings.WEB_THREADS = 2
    sessions.limit_requests()


@COMMITTED
@pytest.mark.usefixtures("impatient", "short_wait")
def test_more_waiters_for_a_locked_run_are_refused_at_once(client: Client):
    run = RunFactory(recipe=None, status=RunStatus.RUNNING)

    with (
        transaction_elsewhere(lambda: Run.objects.lock(run.pk)),
        ROW.entering(run.pk),
        transaction.atomic(),
    ):
        execute("SET LOCAL lock_timeout = 0")  # would wait forever
        with pytest.raises(DatabaseBusy):
            Run.objects.lock(run.pk)


@COMMITTED
@pytest.mark.usefixtures("impatient")
def test_run_that_nobody_has_locked_needs_no_wait(client: Client):
    project = ProjectFactory()
    run, other = RunFactory.create_batch(2, project=project, recipe=None, status="运行中")

    with ROW.entering(run.pk):
        assert post_line(client, run).status_code == 201
        assert post_line(client, other).status_code == 201
