"""The project pages."""

import pytest
from django.urls import reverse

from accounts.open_mode import local_administrator
from projects.models import Project, ProjectStatus
from runs.models import Run
from runs.models.run_queryset import DOCUMENTS
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db

LIST = "/dashboard/projects"


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


def valid(**changes):
    return {"name": "Summaries", "owner": "Ada", "tags": "science, first，second", **changes}


# --- the list --------------------------------------------------------------------------------


def test_list_shows_each_project_with_its_runs(client):
    project = ProjectFactory(name="Summaries", run_count=3)
    RunFactory(project=project, status=RunStatus.RUNNING)
    RunFactory(project=project)
    latest = RunFactory(project=project, name="the-latest")

    page = client.get(LIST).content.decode()

    assert "Summaries" in page
    assert "1 running" in page
    assert "2 queued" in page
    assert reverse("dashboard:run", args=[project.pk, latest.pk]) in page


def test_list_query_count_does_not_depend_on_the_number_of_projects(
    client, django_assert_num_queries
):
    for _ in range(10):
        RunFactory()
    client.get(LIST)

    # User, count, projects, running, queued, latest runs.
    with django_assert_num_queries(6) as captured:
        client.get(LIST)

    touched = " ".join(query["sql"] for query in captured.captured_queries)
    assert not any(
        table in touched for table in ("metricpoint", "metricseries", "logline", "artifacts_")
    )
    assert not any(f'"runs_run"."{column}"' in touched for column in DOCUMENTS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=alpha", {"Alpha"}),
        ("q=ADA", {"Alpha"}),
        ("q=nlp", {"Beta"}),
        ("status=已归档", {"Beta"}),
        ("status=nonsense", {"Alpha", "Beta"}),
        ("q=%00", {"Alpha", "Beta"}),
        ("page=999", {"Alpha", "Beta"}),
        ("page=x", {"Alpha", "Beta"}),
    ],
)
def test_list_applies_search_and_filters(client, query, expected):
    ProjectFactory(name="Alpha", owner="Ada")
    ProjectFactory(name="Beta", owner="Bob", tags=["nlp"], status=ProjectStatus.ARCHIVED)

    response = client.get(f"{LIST}?{query}")

    assert {row.project.name for row in response.context["rows"]} == expected


def test_list_is_paginated(client):
    ProjectFactory.create_batch(26)

    response = client.get(f"{LIST}?page=2")

    assert len(response.context["rows"]) == 1
    assert "Page 2 of 2 (26 total)" in response.content.decode()


# --- one project -----------------------------------------------------------------------------


def test_versions_page_shows_changes(client):
    project = Project.create({"name": "Before"}, by=None)
    project.revise({"name": "After"}, by=None)

    page = client.get(f"/dashboard/projects/{project.pk}/versions").content.decode()

    assert "<del>Before</del>" in page
    assert "<ins>After</ins>" in page


def test_detail_query_count_does_not_depend_on_the_number_of_runs(
    client, django_assert_num_queries
):
    project = ProjectFactory()
    RunFactory.create_batch(20, project=project)
    client.get(LIST)

    # User, project, version and names of columns, sweeps, saved views, whether it is an address of
    # a view, count, ids, runs, quotas of storage.
    with django_assert_num_queries(11) as captured:
        client.get(f"/dashboard/projects/{project.pk}")

    touched = " ".join(query["sql"] for query in captured)
    assert not any(f'"runs_run"."{column}"' in touched for column in DOCUMENTS - {"tags"})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=已失败", ["a"]),
        ("name=B", ["b"]),
        ("sort=-priority", ["b", "a"]),
        ("sort=name", ["a", "b"]),
        ("sort=nonsense&status=x", ["b", "a"]),
        ("name=%00", ["b", "a"]),
    ],
)
def test_detail_filters_and_sorts_its_runs(client, query, expected):
    project = ProjectFactory()
    RunFactory(project=project, name="a")
    RunFactory(project=project, name="b", priority=1)
    failed = Run.objects.get(name="a")
    failed.transition(RunStatus.FAILED)

    response = client.get(f"/dashboard/projects/{project.pk}?{query}")

    assert [row.run.name for row in response.context["page"].rows] == expected


def test_live_rows_are_the_rows_alone(client):
    run = RunFactory()

    response = client.get(f"/dashboard/projects/{run.project_id}/rows?rows={run.pk}&shown=status")

    assert response.status_code == 200
    assert response.content.strip().startswith(b'<div class="table run-table"')


def test_live_rows_are_not_sent_while_nothing_changes(client):
    run = RunFactory()
    url = f"/dashboard/projects/{run.project_id}/rows?rows={run.pk}&since=9999999999999"
    etag = client.get(url)["ETag"]

    unchanged = client.get(url, headers={"If-None-Match": etag}).status_code
    run.transition(RunStatus.FAILED)
    changed = client.get(url, headers={"If-None-Match": etag}).status_code

    assert (unchanged, changed) == (304, 200)


@pytest.mark.parametrize("project_id", ["proj_none", "..", "%00", "x" * 65])
def test_detail_of_unknown_project_is_a_styled_404(client, project_id):
    response = client.get(f"/dashboard/projects/{project_id}")

    assert response.status_code == 404
    assert "<h1>The requested URL was not found.</h1>" in response.content.decode()


# --- create, edit, archive -------------------------------------------------------------------


def test_create_makes_a_project_from_the_form(client):
    form = valid(learning_rate="2e-5", num_epochs="3", other_hyperparameters='{"weight_decay": 0}')

    response = client.post("/dashboard/projects/new", form)

    project = Project.objects.get()
    assert response["Location"] == f"/dashboard/projects/{project.pk}"
    assert project.tags == ["science", "first", "second"]
    assert project.default_hyperparameters == {
        "learning_rate": 2e-5,
        "num_epochs": 3,
        "weight_decay": 0,
    }
    assert project.versions()[0].changed_by == "admin"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 201),
        ("name", "a\x00b"),
        ("tags", "x" * 65),
        ("tags", ",".join(str(n) for n in range(51))),
        ("learning_rate", "fast"),
        ("learning_rate", "nan"),
        ("learning_rate", "-1"),
        ("batch_size", "1.5"),
        ("batch_size", "9" * 64),
        ("seed", "9" * 30),
        ("other_hyperparameters", "[1]"),
        ("other_hyperparameters", '{"a": NaN}'),
        ("other_hyperparameters", '{"a": "\\u0000"}'),
        ("other_hyperparameters", "[" * 2000),
        ("other_hyperparameters", '{"batch_size": "many"}'),
    ],
)
def test_create_shows_errors_at_the_field(client, field, value):
    response = client.post("/dashboard/projects/new", valid(**{field: value}))

    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert f'id="id_{field}-error"' in response.content.decode()
    assert not Project.objects.exists()


def test_create_rejects_a_form_of_several_megabytes(client):
    response = client.post("/dashboard/projects/new", valid(description="x" * 3_000_000))

    assert response.status_code == 400
    assert "<h1>" in response.content.decode()


def test_edit_makes_a_new_version(client):
    project = ProjectFactory(name="Before", default_hyperparameters={"seed": 1, "warmup": 5})
    url = f"/dashboard/projects/{project.pk}/edit"
    filled = client.get(url).context["form"].initial

    client.post(url, {**valid(name="After"), "seed": filled["seed"]})

    project.refresh_from_db()
    assert (project.name, project.version) == ("After", 2)
    assert project.default_hyperparameters == {"seed": 1}


def test_edit_without_changes_makes_no_version(client):
    project = Project.create({"name": "Summaries", "tags": ["a", "b"]}, by=None)

    response = client.post(
        f"/dashboard/projects/{project.pk}/edit",
        {"name": "Summaries", "tags": "a, b"},
        follow=True,
    )

    project.refresh_from_db()
    assert project.version == 1
    assert "No changes to save." in response.content.decode()


def test_edit_shows_the_current_values(client):
    project = ProjectFactory(default_hyperparameters={"learning_rate": 3e-5, "warmup": {"a": 1}})

    page = client.get(f"/dashboard/projects/{project.pk}/edit").content.decode()

    assert 'value="3e-5"' in page
    assert "&quot;warmup&quot;: {" in page


def test_archive_and_reopen_change_the_status(client):
    project = ProjectFactory()

    client.post(f"/dashboard/projects/{project.pk}/archive")
    project.refresh_from_db()
    archived = project.status
    client.post(f"/dashboard/projects/{project.pk}/reopen")
    project.refresh_from_db()

    assert (archived, project.status) == (ProjectStatus.ARCHIVED, ProjectStatus.ACTIVE)


@pytest.mark.parametrize("action", ["archive", "reopen"])
def test_actions_reject_get(client, action):
    project = ProjectFactory()

    assert client.get(f"/dashboard/projects/{project.pk}/{action}").status_code == 405


def test_post_without_csrf_token_is_rejected(client, settings):
    client.handler.enforce_csrf_checks = True

    response = client.post("/dashboard/projects/new", valid())

    assert response.status_code == 403
    assert not Project.objects.exists()


# --- sign-in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/workers", "/projects/new", "/projects/proj_x"])
def test_pages_require_sign_in_unless_in_open_mode(client, settings, path):
    settings.OPEN_MODE = False

    response = client.get(f"/dashboard{path}")

    assert response.status_code == 302
    assert response["Location"].startswith("/login?next=")


def test_signed_in_user_sees_pages_and_a_sign_out_button(client, settings, django_user_model):
    settings.OPEN_MODE = False
    client.force_login(django_user_model.objects.create_user("ada"))

    page = client.get(LIST).content.decode()

    assert "ada" in page
    assert "Sign out" in page
    assert "Open mode" not in page


def test_every_page_shows_open_mode(client):
    for path in (LIST, "/dashboard/workers", "/dashboard/projects/new", "/dashboard/nothing"):
        assert "Open mode" in client.get(path).content.decode()


def test_sign_in_and_out(client, settings, django_user_model):
    settings.OPEN_MODE = False
    django_user_model.objects.create_user("ada", password="a long secret")

    wrong = client.post("/login", {"username": "ada", "password": "x"})
    right = client.post("/login", {"username": "ada", "password": "a long secret", "next": LIST})
    seen = client.get(LIST)
    client.post("/logout")

    assert wrong.status_code == 200
    assert 'role="alert"' in wrong.content.decode()
    assert right["Location"] == LIST
    assert seen.status_code == 200
    assert client.get(LIST).status_code == 302


# --- languages -------------------------------------------------------------------------------


def test_pages_are_chinese_by_default(client, settings):
    settings.LANGUAGE_CODE = "zh-hans"

    page = client.get(LIST).content.decode()

    assert '<html lang="zh-Hans"' in page
    assert "新建项目" in page


def test_language_switch_returns_to_the_page(client):
    response = client.post("/dashboard/language", {"language": "zh-hans", "next": LIST})

    assert response["Location"] == LIST
    assert "新建项目" in client.get(LIST).content.decode()


def test_language_switch_works_before_sign_in(client, settings):
    settings.OPEN_MODE = False

    client.post("/dashboard/language", {"language": "zh-hans", "next": "/login"})

    assert "登录" in client.get("/login").content.decode()


def test_language_switch_does_not_redirect_to_other_sites(client):
    response = client.post(
        "/dashboard/language", {"language": "en", "next": "https://elsewhere.example/"}
    )

    assert "elsewhere" not in response["Location"]
