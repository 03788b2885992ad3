"""Admin lists stay fast on large tables."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils import translation

from artifacts.models import Artifact
from core import admin as trainhub_admin
from core.admin import EstimatingPaginator, LargeTableAdmin, estimated_row_count
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

pytestmark = pytest.mark.django_db

OURS = [model for model in admin.site._registry if model not in (User, Group)]


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


@pytest.fixture
def low_count_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainhub_admin, "MAX_COUNTED_ROWS", 3)


@pytest.mark.parametrize(
    ("language", "names"),
    [("zh-Hans", ["项目", "运行", "工件"]), ("en", ["Projects", "Runs", "Artifacts"])],
)
def test_index_names_apps_in_the_requested_language(operator, language, names):
    response = operator.get("/admin/", headers={"Accept-Language": language})

    with translation.override(language):  # names are lazily translated
        labels = {app["app_label"]: str(app["name"]) for app in response.context["app_list"]}
    assert all(f"{name}</a>" in response.content.decode() for name in names)
    assert [labels[label] for label in ("projects", "runs", "artifacts")] == names


@pytest.mark.parametrize(
    "query",
    ["created_at__gte=2024-01-01T00:00:00%2B19:39", "status__exact=%00", "created_at__gte=noon"],
)
@pytest.mark.parametrize("model", [Project, Run])
def test_filter_that_the_database_rejects_is_dropped(operator, model, query):
    address = list_of(model)

    response = operator.get(f"{address}?{query}", follow=True)

    assert response.status_code == 200
    assert response.redirect_chain == [(f"{address}?e=1", 302)]


def test_every_admin_is_a_large_table_admin():
    assert {Project, Run, RunEvent, Artifact, Recipe, Worker} <= set(OURS)
    for model in OURS:
        assert isinstance(admin.site._registry[model], LargeTableAdmin), model


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_list_does_not_count_the_whole_table(operator: Client, model: type):
    assert_counts_no_whole_table(queries_of(operator, model))


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_list_opens_in_both_languages(operator: Client, model: type, language: str):
    assert operator.get(list_of(model), HTTP_ACCEPT_LANGUAGE=language).status_code == 200


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("text", ["run_x", "x' OR 1=1 --", "%_\\", "运行", "proj_ x ckpt_", " "])
def test_list_accepts_any_search(operator: Client, model: type, text: str):
    assert operator.get(list_of(model), {"q": text}).status_code == 200


def test_index_shows_the_product_name(operator: Client):
    assert b"TrainHub" in operator.get("/admin/").content


# --- row counts ------------------------------------------------------------------------------


def test_short_list_is_counted_exactly():
    ProjectFactory.create_batch(3)

    assert EstimatingPaginator(Project.objects.order_by("pk"), 2).count == 3


@pytest.mark.usefixtures("low_count_limit")
def test_large_table_is_counted_by_estimate():
    ProjectFactory.create_batch(20)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE projects_project")

    assert EstimatingPaginator(Project.objects.order_by("pk"), 2).count == 20


@pytest.mark.usefixtures("low_count_limit")
def test_table_without_an_estimate_counts_one_row_past_the_limit():
    """So that the list still has a next page and never loads the whole table."""
    ProjectFactory.create_batch(20)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_class SET reltuples = -1 WHERE oid = 'projects_project'::regclass"
        )

    assert EstimatingPaginator(Project.objects.order_by("pk"), 2).count == 4


@pytest.mark.usefixtures("low_count_limit")
def test_filtered_list_is_counted_up_to_the_limit():
    ProjectFactory.create_batch(20, owner="小李")

    assert EstimatingPaginator(Project.objects.filter(owner="小李"), 2).count == 3
    assert EstimatingPaginator(Project.objects.filter(owner="小王"), 2).count == 0


def test_estimate_matches_the_analyzed_row_count():
    ProjectFactory.create_batch(7)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE projects_project")

    assert estimated_row_count(Project, using="default") == 7


# --- history is read-only --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["add/", "run_x/delete/"])
@pytest.mark.parametrize("model", [Run, RunEvent, Artifact, Worker], ids=lambda m: m.__name__)
def test_history_cannot_be_added_or_deleted(operator: Client, model: type, path: str):
    run = RunFactory()
    url = list_of(model) + path.replace("run_x", run.pk)

    response = operator.post(url, {})

    # An unknown row redirects to the index; an existing one is forbidden.
    assert response.status_code in (302, 403)
    assert Run.objects.count() == 1


def test_staff_without_permissions_sees_no_lists():
    client = signed_in(UserFactory(is_staff=True))

    for model in OURS:
        assert client.get(list_of(model)).status_code == 403, model
