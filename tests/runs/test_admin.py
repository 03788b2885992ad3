"""The admin of runs, recipes, pools and workers."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from django.utils.translation import override

from execution.scheduling.pools import pool_uses
from metrics.models import MetricSeries
from runs.models import EventKind, GpuPool, Recipe, Run, RunEvent, Worker
from runs.models.run_queryset import DOCUMENTS
from runs.status import RunStatus
from tests.admin import (
    act,
    add_page_of,
    assert_counts_no_whole_table,
    list_of,
    page_of,
    queries_of,
    rows_in,
    signed_in,
    staff,
    superuser,
)
from tests.factories import (
    GpuPoolFactory,
    ProjectFactory,
    RunFactory,
    WorkerFactory,
    running,
    unmanaged_run,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


def finished_run(**fields: Any) -> Run:
    return RunFactory(status=RunStatus.COMPLETED, finished_at=timezone.now(), **fields)


# --- actions on runs -------------------------------------------------------------------------


def test_cancel_cancels_each_run_and_reports_the_refused_ones(operator: Client):
    queued = RunFactory.create_batch(2)
    completed = finished_run()

    messages = act(operator, "cancel", *queued, completed)

    assert messages[0] == "Cancelled, or asked to stop: 2."
    assert re.fullmatch(rf"1 was refused\. {completed.pk}: The run has ended.*", messages[1])
    assert {run.status for run in Run.objects.filter(pk__in=[run.pk for run in queued])} == {
        RunStatus.CANCELLED
    }
    completed.refresh_from_db()
    assert completed.status == RunStatus.COMPLETED


def test_cancel_records_the_user(operator: Client):
    run = RunFactory()

    act(operator, "cancel", run)

    requested = run.events.get(kind=EventKind.STOP_REQUESTED)
    assert requested.actor is not None
    assert requested.actor.username == "operator"


def test_cancel_does_not_wait_for_a_worker(operator: Client):
    run = RunFactory(
        recipe=Recipe.objects.get(name="char-lm"),
        status=RunStatus.RUNNING,
        started_at=timezone.now(),
        worker=WorkerFactory(),
    )

    act(operator, "cancel", run)

    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    assert run.stop_requested_at is not None


def test_retry_queues_the_same_configuration_again(operator: Client):
    run = finished_run(project=ProjectFactory())

    messages = act(operator, "retry", run)

    assert messages == ["Queued again: 1."]
    again = Run.objects.exclude(pk=run.pk).get()
    assert again.status == RunStatus.QUEUED
    assert again.hyperparameters == run.hyperparameters
    assert again.created_by is not None
    assert again.created_by.username == "operator"


def test_retry_of_a_run_that_has_not_ended_is_refused(operator: Client):
    messages = act(operator, "retry", RunFactory())

    assert len(messages) == 1
    assert "1 was refused" in messages[0]
    assert Run.objects.count() == 1


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_actions_need_the_permission_to_change(action: str):
    client = signed_in(staff("view_run"))
    runs = [RunFactory(), finished_run()]

    act(client, action, *runs)

    assert Run.objects.count() == 2
    runs[0].refresh_from_db()
    assert runs[0].status == RunStatus.QUEUED


def test_actions_need_only_the_permission_to_change():
    client = signed_in(staff("view_run", "change_run"))
    run = RunFactory()

    act(client, "cancel", run)

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED


# --- pages of runs ---------------------------------------------------------------------------


def test_run_page_shows_its_history_and_has_nothing_to_edit(operator: Client):
    run = RunFactory(status_reason="because", hyperparameters={"学习率": 1})
    run.note(EventKind.RECOVERED, reason="its worker died")

    page = operator.get(page_of(run)).content.decode()

    assert "because" in page
    assert "学习率" in page
    assert "its worker died" in page
    assert f"/dashboard/projects/{run.project_id}/runs/{run.pk}" in page
    assert 'name="status"' not in page
    assert "_save" not in page


def test_posted_form_changes_no_run(operator: Client):
    run = RunFactory()

    response = operator.post(page_of(run), {"status": RunStatus.COMPLETED, "name": "x"})

    assert response.status_code == 403
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


def test_search_finds_runs_by_run_project_and_worker(operator: Client):
    worker = WorkerFactory()
    run = RunFactory(
        name="wanted", status=RunStatus.RUNNING, started_at=timezone.now(), worker=worker
    )
    RunFactory(name="another")

    for text in (run.pk, run.pk[:10], run.project_id, worker.pk, "wan", f"{run.project_id} wanted"):
        assert rows_in(operator, Run, q=text) == [run], text
    assert rows_in(operator, Run, q=f"{run.project_id} another") == []


@pytest.mark.parametrize(
    ("life", "statuses"),
    [
        ("active", {RunStatus.QUEUED}),
        ("over", {RunStatus.COMPLETED}),
        ("stopping", set()),
        ("nonsense", {RunStatus.QUEUED, RunStatus.COMPLETED}),
    ],
)
def test_filter_by_lifecycle(operator: Client, life: str, statuses: set[RunStatus]):
    RunFactory()
    finished_run()

    assert {run.status for run in rows_in(operator, Run, life=life)} == statuses


def test_events_and_metrics_are_found_by_their_run(operator: Client):
    run, other = RunFactory(), RunFactory()
    event = run.note(EventKind.CREATED)
    other.note(EventKind.CREATED)
    series = MetricSeries.objects.create(run=run, key="loss")
    MetricSeries.objects.create(run=other, key="loss")

    assert rows_in(operator, RunEvent, q=run.pk) == [event]
    assert rows_in(operator, MetricSeries, q=run.pk) == [series]
    assert rows_in(operator, MetricSeries, run__id__exact=run.pk) == [series]


# --- performance -----------------------------------------------------------------------------


def make_runs(count: int) -> None:
    for _ in range(count):
        run = RunFactory(
            status=RunStatus.RUNNING, started_at=timezone.now(), worker=WorkerFactory()
        )
        run.note(EventKind.CLAIMED, worker=run.worker)
        MetricSeries.objects.create(run=run, key="loss")


@pytest.mark.parametrize("model", [Run, RunEvent, MetricSeries, Worker], ids=lambda m: m.__name__)
def test_queries_do_not_grow_with_rows(operator: Client, model: Any):
    make_runs(2)
    few = len(queries_of(operator, model))
    make_runs(10)

    assert len(queries_of(operator, model)) == few


@pytest.mark.parametrize(
    "query",
    [{}, {"status__exact": RunStatus.COMPLETED}, {"q": "proj_4"}, {"life": "over"}],
    ids=["all", "status", "search", "life"],
)
def test_no_list_of_runs_counts_the_table(operator: Client, query: dict[str, str]):
    assert_counts_no_whole_table(queries_of(operator, Run, **query))


def make_many_runs() -> None:
    """Enough runs for PostgreSQL to use its indexes."""
    project, recipe = ProjectFactory(), Recipe.objects.get(name="simulated")
    runs = Run.objects.bulk_create(
        RunFactory.build(pk=f"run_{number:012d}", project=project, recipe=recipe)
        for number in range(5_000)
    )
    RunEvent.objects.bulk_create(
        RunEvent(run=run, kind=EventKind.CREATED, attempt=1) for run in runs
    )
    MetricSeries.objects.bulk_create(MetricSeries(run=run, key="loss") for run in runs)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_run, runs_runevent, metrics_metricseries")


def explain(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + sql)
        return "\n".join(line for (line,) in cursor.fetchall())


INDEXED = [
    (Run, {}, "run_newest_first"),
    (Run, {"q": "run_00000000433"}, "runs_run_pkey|runs_run_id_.*"),
    (Run, {"q": "proj_4k0w"}, "run_of_project|runs_run_project_id_.*"),
    (RunEvent, {}, "runs_runevent_pkey"),
    (RunEvent, {"q": "run_00000000433"}, "runs_runevent_run_id_.*"),
    (
        MetricSeries,
        {"q": "run_00000000433"},
        "metricseries_run_key|metrics_metricseries_run_id_.*",
    ),
]


def test_lists_and_searches_use_an_index(operator: Client):
    make_many_runs()  # takes longer than all of the searches

    for model, query, index in INDEXED:
        selects = [
            sql
            for sql in queries_of(operator, model, **query)
            if sql.startswith("SELECT")
            and f'FROM "{model._meta.db_table}"' in sql
            and "COUNT" not in sql
        ]
        assert selects, (model, query)
        for sql in selects:
            plan = explain(sql)
            assert re.search(rf"Index.* using ({index}) on|Index Scan on ({index})", plan), plan
            assert "Seq Scan on " + model._meta.db_table not in plan


# --- recipes, pools, workers -----------------------------------------------------------------


def recipe_form(**fields: Any) -> dict[str, Any]:
    return {
        "name": "tune",
        "description": "",
        "executor": "process",
        "command": "{python}\r\ntrain.py\r\n--text=a, b",
        "environment": "",
        "default_hyperparameters": "",
        "gpu_type": "",
        "gpu_count": "0",
        "stop_grace_seconds": "10",
        "stall_silence_seconds": "0",
        "stall_step_seconds": "0",
        "stall_action": "restart",
        "max_restarts": "3",
        "code": "none",
        "code_from": "nobody",
        "enabled": "on",
        **fields,
    }


UNSENT = {"is_default", "removed_secrets"}  # boxes that are not ticked


def test_recipe_command_has_one_argument_per_line(operator: Client):
    operator.post(add_page_of(Recipe), recipe_form(environment='{"A": "1"}'))

    recipe = Recipe.objects.get(name="tune")
    assert recipe.command == ["{python}", "train.py", "--text=a, b"]
    assert recipe.environment == {"A": "1"}
    assert recipe.default_hyperparameters == {}


@pytest.mark.parametrize(("encoding", "stored"), [("gbk", "gbk"), ("", "utf-8")])
def test_recipe_has_the_encoding_of_its_output(operator: Client, encoding: str, stored: str):
    operator.post(add_page_of(Recipe), recipe_form(encoding=encoding))

    assert Recipe.objects.get(name="tune").encoding == stored


@pytest.mark.parametrize(("fields", "stored"), [({"read_tensorboard": "on"}, True), ({}, False)])
def test_recipe_says_whether_tensorboard_files_are_read(
    operator: Client, fields: dict[str, str], stored: bool
):
    operator.post(add_page_of(Recipe), recipe_form(**fields))

    assert Recipe.objects.get(name="tune").read_tensorboard is stored


def test_tensorboard_files_are_read_unless_the_operator_says_otherwise(operator: Client):
    form = operator.get(add_page_of(Recipe)).context["adminform"].form

    assert form["read_tensorboard"].value() is True


def test_recipe_saved_without_edits_is_unchanged(operator: Client):
    Recipe.objects.create(
        name="tune", executor="process", command=["a", " b, c ", "--d"], environment={"A": "é"}
    )
    form = operator.get(page_of(Recipe(pk="tune"))).context["adminform"].form
    shown = {name: form[name].value() for name in form.fields if name not in UNSENT}
    sent = {name: "" if value is None else value for name, value in shown.items()}

    response = operator.post(page_of(Recipe(pk="tune")), recipe_form(**sent))

    assert response.status_code == 302, response.context["adminform"].form.errors
    recipe = Recipe.objects.get(name="tune")
    assert recipe.command == ["a", " b, c ", "--d"]
    assert recipe.environment == {"A": "é"}


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"command": ""}, "command"),
        ({"command": "a\r\n\r\nb"}, "command"),
        ({"environment": "[]"}, "environment"),
        ({"encoding": "no such"}, "encoding"),
        ({"encoding": "hex"}, "encoding"),
        ({"encoding": "utf-16"}, "encoding"),
        ({"environment": '{"A": 1}'}, "environment"),
        ({"environment": '{"TRAINHUB_RUN_ID": "x"}'}, "environment"),
        ({"environment": '{"A=B": "x"}'}, "environment"),
        ({"environment": '{"A": "\\u0000"}'}, "environment"),
        ({"default_hyperparameters": '{"batch_size": -1}'}, "default_hyperparameters"),
        ({"default_hyperparameters": '{"a": NaN}'}, "default_hyperparameters"),
        ({"is_default": "on"}, "is_default"),
        ({"gpu_type": "A100; rm"}, "gpu_type"),
        ({"gpu_count": "-1"}, "gpu_count"),
        ({"name": "a b"}, "name"),
        ({"name": "simulated"}, "name"),
        ({"executor": "shell"}, "executor"),
    ],
)
def test_invalid_recipe_is_refused(operator: Client, fields: dict[str, str], at_fault: str):
    before = Recipe.objects.count()

    response = operator.post(add_page_of(Recipe), recipe_form(**fields))

    assert response.status_code == 200
    assert at_fault in response.context["adminform"].form.errors
    assert Recipe.objects.count() == before


def test_name_of_a_recipe_cannot_be_changed(operator: Client):
    operator.post(page_of(Recipe(pk="char-lm")), recipe_form(name="other", command="a"))

    assert set(Recipe.objects.values_list("name", flat=True)) == {"simulated", "char-lm"}


def test_default_recipe_does_not_conflict_with_itself(operator: Client):
    form = recipe_form(executor="simulated", command="", is_default="on", description="new")

    response = operator.post(page_of(Recipe(pk="simulated")), form)

    assert response.status_code == 302
    assert Recipe.objects.get(name="simulated").description == "new"


def test_recipe_with_runs_is_not_deleted(operator: Client):
    RunFactory(recipe=Recipe.objects.get(name="char-lm"))

    response = operator.post(f"{list_of(Recipe)}char-lm/delete/", {"post": "yes"})

    assert response.status_code == 403
    assert Recipe.objects.filter(name="char-lm").exists()


def test_recipe_without_runs_is_deleted(operator: Client):
    operator.post(f"{list_of(Recipe)}char-lm/delete/", {"post": "yes"})

    assert not Recipe.objects.filter(name="char-lm").exists()


def test_recipes_need_only_the_permission_to_add():
    client = signed_in(staff("view_recipe"))

    assert client.post(add_page_of(Recipe), recipe_form()).status_code == 403
    assert client.post(page_of(Recipe(pk="char-lm")), recipe_form()).status_code == 403
    assert (
        signed_in(staff("add_recipe")).post(add_page_of(Recipe), recipe_form()).status_code == 302
    )


def test_list_reads_no_document_of_its_runs(operator: Client):
    RunFactory()

    touched = " ".join(queries_of(operator, Run))
    assert not any(f'"runs_run"."{column}"' in touched for column in DOCUMENTS)


def test_pool_shows_the_gpus_in_use(operator: Client):
    GpuPoolFactory(gpu_type="A100", capacity=8)
    GpuPoolFactory(gpu_type="H100", capacity=4)
    for _number in range(2):
        running(gpu_type="A100", gpu_count=3)
    RunFactory(gpu_type="A100", gpu_count=1)  # waits

    assert {pool.pk: pool.used for pool in rows_in(operator, GpuPool)} == {"A100": 6, "H100": 0}


def test_run_that_waits_for_a_worker_or_has_none_holds_no_gpus(operator: Client):
    GpuPoolFactory(gpu_type="A100", capacity=8)
    running(gpu_type="A100", gpu_count=2, devices=["0", "1"])
    RunFactory(status=RunStatus.RUNNING, gpu_type="A100", gpu_count=4)  # its worker has died
    unmanaged_run(gpu_type="A100", gpu_count=1)

    [pool] = rows_in(operator, GpuPool)

    assert pool.used == pool_uses()[0].used == 2


def test_pool_is_resized(operator: Client):
    pool = GpuPoolFactory(gpu_type="A100", capacity=8)

    operator.post(page_of(pool), {"gpu_type": "A100", "capacity": "16", "reserve": "0"})

    pool.refresh_from_db()
    assert pool.capacity == 16


def test_worker_shows_its_number_of_runs(operator: Client):
    worker = WorkerFactory()
    RunFactory.create_batch(2, worker=worker, status=RunStatus.RUNNING, started_at=timezone.now())

    (shown,) = rows_in(operator, Worker)

    assert shown.running == 2
    assert operator.get(page_of(worker)).status_code == 200


def test_event_is_named_in_the_readers_language():
    event = RunEvent(run_id="run_1", kind=EventKind.CREATED, to_status=RunStatus.QUEUED)

    with override("en"):
        assert str(event) == "run_1 created Queued"
