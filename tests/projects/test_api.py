"""The API of projects."""

import re

import pytest

from projects.models import Project
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


def test_project_needs_only_a_name(client):
    response = client.post_json("/projects", {"name": "p"})

    assert response.status_code == 201
    assert response.json()["tags"] == []
    assert response.json()["default_hyperparameters"] == {}


def test_list_is_a_plain_array_newest_first(client):
    older, newer = ProjectFactory.create(name="older"), ProjectFactory.create(name="newer")

    response = client.get("/projects")

    assert [item["id"] for item in response.json()] == [newer.pk, older.pk]
    assert "Link" not in response.headers


def test_list_page_has_pagination_headers(client):
    ProjectFactory.create_batch(5)

    response = client.get("/projects?page=2&page_size=2")

    assert len(response.json()) == 2
    assert response.headers["X-Total-Count"] == "5"
    links = response.headers["Link"]
    assert 'page=1&page_size=2>; rel="first"' in links.replace(
        "page_size=2&page=1", "page=1&page_size=2"
    )
    for rel in ("first", "prev", "next", "last"):
        assert f'rel="{rel}"' in links


def test_page_past_the_end_is_empty(client):
    ProjectFactory.create_batch(2)

    response = client.get("/projects?page=9&page_size=2")

    assert response.json() == []
    assert response.headers["X-Total-Count"] == "2"
    assert 'rel="next"' not in response.headers["Link"]


def test_list_takes_two_queries_for_any_number_of_projects(client, django_assert_max_num_queries):
    for project in ProjectFactory.create_batch(20):
        RunFactory.create(project=project)
    client.get("/projects")

    with django_assert_max_num_queries(2):  # the local administrator, the projects
        client.get("/projects")


def test_detail_counts_all_runs_and_lists_the_newest_hundred(client):
    project = ProjectFactory.create(run_count=105)
    runs = RunFactory.create_batch(105, project=project)

    content = client.get(f"/projects/{project.pk}").json()

    assert content["run_count"] == 105
    assert len(content["runs"]) == 100
    assert content["runs"][0]["id"] == runs[-1].pk


def test_detail_takes_four_queries_for_any_number_of_runs(client, django_assert_max_num_queries):
    project = ProjectFactory.create()
    RunFactory.create_batch(30, project=project)
    client.get("/projects")

    with django_assert_max_num_queries(4) as captured:  # administrator, project, runs, versions
        client.get(f"/projects/{project.pk}")

    [of_runs] = [query["sql"] for query in captured if 'FROM "runs_run"' in query["sql"]]
    selected = re.findall(r'"runs_run"\."(\w+)"', of_runs.partition(" FROM ")[0])
    assert set(selected) == {"id", "name", "status", "progress", "started_at"}


def test_change_creates_a_version_with_its_changes(client):
    project = client.post_json("/projects", {"name": "p", "owner": "小李"}).json()

    content = client.patch_json(f"/projects/{project['id']}", {"owner": "小王"}).json()

    assert content["version"] == 2
    newest = content["versions"][0]
    assert newest["number"] == 2
    assert newest["changed_by"] == "admin"
    assert newest["changes"] == [{"field": "owner", "old": "小李", "new": "小王"}]


def test_change_without_difference_creates_no_version(client):
    project = client.post_json("/projects", {"name": "p"}).json()

    content = client.patch_json(f"/projects/{project['id']}", {"name": "p"}).json()

    assert content["version"] == 1
    assert len(content["versions"]) == 1


def test_archiving_sets_the_status_and_creates_no_version(client):
    project = client.post_json("/projects", {"name": "p"}).json()

    content = client.patch_json(f"/projects/{project['id']}", {"status": "已归档"}).json()

    assert content["status"] == "已归档"
    assert content["version"] == 1


def test_archived_project_refuses_new_runs(client):
    project = ProjectFactory.create(status="已归档")

    response = client.post_json(f"/projects/{project.pk}/runs", {})

    assert response.status_code == 409
    assert response.json()["errors"][0]["code"] == "project_archived"


def test_change_with_one_invalid_field_changes_nothing(client):
    project = ProjectFactory.create(name="before")

    response = client.patch_json(f"/projects/{project.pk}", {"name": "after", "status": "?"})

    assert response.status_code == 400
    assert Project.objects.get().name == "before"


def test_run_keeps_the_project_version_it_was_created_from(client):
    project = client.post_json("/projects", {"name": "p"}).json()
    client.patch_json(f"/projects/{project['id']}", {"owner": "小王"})
    run = client.post_json(f"/projects/{project['id']}/runs").json()

    client.patch_json(f"/projects/{project['id']}", {"owner": "小李"})

    assert client.get(f"/projects/{project['id']}/runs/{run['id']}").json()["project_version"] == 2
