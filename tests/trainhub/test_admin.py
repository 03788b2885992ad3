"""The admin's lists stay quick however long the tables are."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from artifacts.models import Artifact
from projects.models import Project
from runs.models import Recipe, Run, RunEvent, Worker
from tests.admin import (
    assert_counts_no_whole_table,
    list_of,
    queries_of,
    signed_in,
    superuser,
)
from tests.factories import ProjectFactory, RunFactory, UserFactory
from trainhub import admin as trainhub_admin
from trainhub.admin import EstimatingPaginator, QuickAdmin, estimated_row_count

pytestmark = pytest.mark.django_db

OURS = [model for model in admin.site._registry if model not in (User, Group)]


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


@pytest.fixture
def few_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainhub_admin, "COUNTED_ROWS", 3)


@pytest.mark.parametrize(
    ("language", "names"),
    [("zh-Hans", ["项目", "运行", "工件"]), ("en", ["Projects", "Runs", "Artifacts"])],
)
def test_index_names_our_applications_in_the_readers_language(operator, language, names):
    response = operator.get("/admin/", headers={"Accept-Language": language})

    labels = {app["app_label"]: str(app["name"]) for app in response.context["app_list"]}
    assert [labels[label] for label in ("projects", "runs", "artifacts")] == names


@pytest.mark.parametrize(
    "query",
    ["created_at__gte=2024-01-01T00:00:00%2B19:39", "status__exact=%00", "created_at__gte=noon"],
)
@pytest.mark.parametrize("model", [Project, Run])
def test_filter_that_the_database_cannot_take_is_left_out(operator, model, query):
    address = list_of(model)

    response = operator.get(f"{address}?{query}", follow=True)

    assert response.status_code == 200
    assert response.redirect_chain == [(f"{address}?e=1", 302)]


def test_every_list_of_ours_is_quick():
    assert {Project, Run, RunEvent, Artifact, Recipe, Worker} <= set(OURS)
    for model in OURS:
        assert isinstance(admin.site._registry[model], QuickAdmin), model


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_list_opens_and_counts_no_whole_table(operator: Client, model: type):
    assert_counts_no_whole_table(queries_of(operator, model))


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_list_opens_in_both_languages(operator: Client, model: type, language: str):
    assert operator.get(list_of(model), HTTP_ACCEPT_LANGUAGE=language).status_code == 200


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("text", ["run_x", "x' OR 1=1 --", "%_\\", "运行", "proj_ x ckpt_", " "])
def test_list_takes_any_search(operator: Client, model: type, text: str):
    assert operator.get(list_of(model), {"q": text}).status_code == 200


def test_lists_carry_our_name(operator: Client):
    assert b"TrainHub" in operator.get("/admin/").content


# --- how much is counted ---------------------------------------------------------------------


def test_short_list_is_counted_exactly():
    ProjectFactory.create_batch(3)

    assert EstimatingPaginator(Project.objects.order_by("pk"), 2).count == 3


@pytest.mark.usefixtures("few_counted")
def test_long_table_is_counted_by_the_databases_estimate():
    ProjectFactory.create_batch(20)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE projects_project")

    assert EstimatingPaginator(Project.objects.order_by("pk"), 2).count == 20


@pytest.mark.usefixtures("few_counted")
def test_table_that_was_never_analyzed_has_more_than_was_counted():
    """So that the list still pages, and never loads the table whole."""
    ProjectFactory.create_batch(20)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_class SET reltuples = -1 WHERE oid = 'projects_project'::regclass"
        )

    assert EstimatingPaginator(Project.objects.order_by("pk"), 2).count == 4


@pytest.mark.usefixtures("few_counted")
def test_filtered_list_is_counted_to_the_limit():
    ProjectFactory.create_batch(20, owner="小李")

    assert EstimatingPaginator(Project.objects.filter(owner="小李"), 2).count == 3
    assert EstimatingPaginator(Project.objects.filter(owner="小王"), 2).count == 0


def test_estimate_is_the_tables():
    ProjectFactory.create_batch(7)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE projects_project")

    assert estimated_row_count(Project, using="default") == 7


# --- rows of history stay as they are --------------------------------------------------------


@pytest.mark.parametrize("what", ["add/", "run_x/delete/"])
@pytest.mark.parametrize("model", [Run, RunEvent, Artifact, Worker], ids=lambda m: m.__name__)
def test_history_is_neither_added_nor_deleted(operator: Client, model: type, what: str):
    run = RunFactory()
    path = list_of(model) + what.replace("run_x", run.pk)

    response = operator.post(path, {})

    # A row that is not there leads back to the index; one that is, is forbidden.
    assert response.status_code in (302, 403)
    assert Run.objects.count() == 1


def test_somebody_without_permission_sees_nothing():
    client = signed_in(UserFactory(is_staff=True))

    for model in OURS:
        assert client.get(list_of(model)).status_code == 403, model
