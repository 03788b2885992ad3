"""Projects in the admin."""

import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from projects.models import Project, ProjectStatus
from tests.admin import (
    act,
    add_page_of,
    list_of,
    page_of,
    queries_of,
    rows_in,
    signed_in,
    staff,
    superuser,
)
from tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


def form_of(**fields: Any) -> dict[str, Any]:
    return {
        "name": "中文摘要系统",
        "description": "",
        "objective": "",
        "task_type": "文本摘要",
        "base_model": "llama-2-13b",
        "owner": "小李",
        "tags": "",
        "default_hyperparameters": '{"learning_rate": 3e-5, "batch_size": 16}',
        **fields,
    }


def test_new_project_is_a_draft_of_version_1_by_the_current_user(operator: Client):
    response = operator.post(add_page_of(Project), form_of(tags="科研, 第一阶段"))

    assert response.status_code == 302
    project = Project.objects.get()
    assert project.status == ProjectStatus.DRAFT
    assert project.tags == ["科研", "第一阶段"]
    assert project.default_hyperparameters == {"learning_rate": 3e-5, "batch_size": 16}
    assert [(v.number, v.changed_by) for v in project.versions()] == [(1, "operator")]


def test_change_creates_a_version_by_the_current_user(operator: Client):
    project = ProjectFactory()

    operator.post(page_of(project), form_of(owner="小王", default_hyperparameters="{}"))

    newest = project.versions()[0]
    assert (newest.number, newest.changed_by) == (2, "operator")
    assert {change.field for change in newest.changes} == {"owner", "default_hyperparameters"}
    project.refresh_from_db()
    assert (project.owner, project.version) == ("小王", 2)


def test_saving_without_changes_creates_no_version(operator: Client):
    project = ProjectFactory(tags=["科研", "a"])

    operator.post(page_of(project), form_of(tags="科研, a"))

    project.refresh_from_db()
    assert project.version == 1


@pytest.mark.parametrize(
    "text", ["[]", "NaN", '{"a": NaN}', '{"a": "\\u0000"}', '{"learning_rate": "x"}', "{"]
)
def test_invalid_hyperparameters_are_refused(operator: Client, text: str):
    project = ProjectFactory()

    response = operator.post(page_of(project), form_of(default_hyperparameters=text))

    assert response.status_code == 200
    assert "default_hyperparameters" in response.context["adminform"].form.errors
    project.refresh_from_db()
    assert project.version == 1


def test_status_is_not_a_form_field(operator: Client):
    project = ProjectFactory()

    operator.post(page_of(project), form_of(status=ProjectStatus.ARCHIVED, version=9, run_count=9))

    project.refresh_from_db()
    assert (project.status, project.version, project.run_count) == (ProjectStatus.DRAFT, 1, 0)


def test_page_shows_versions(operator: Client):
    project = ProjectFactory()
    project.revise({"owner": "小王"}, by=None)

    assert (
        "owner: &#x27;小李&#x27; → &#x27;小王&#x27;"
        in operator.get(page_of(project)).content.decode()
    )


def test_archive_and_reopen(operator: Client):
    projects = ProjectFactory.create_batch(2)

    assert act(operator, "archive", *projects) == ["Archived: 2."]
    assert set(Project.objects.values_list("status", flat=True)) == {ProjectStatus.ARCHIVED}
    assert act(operator, "reopen", *projects) == ["Active: 2."]
    assert set(Project.objects.values_list("status", flat=True)) == {ProjectStatus.ACTIVE}


def test_archiving_is_recorded_in_the_admin_log(operator: Client):
    project = ProjectFactory()

    act(operator, "archive", project)

    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_id) == ("operator", project.pk)
    assert json.loads(entry.change_message)


def test_archiving_needs_the_change_permission():
    client = signed_in(staff("view_project"))
    project = ProjectFactory()

    act(client, "archive", project)

    project.refresh_from_db()
    assert project.status == ProjectStatus.DRAFT


def test_project_cannot_be_deleted(operator: Client):
    project = ProjectFactory()

    response = operator.post(f"{list_of(Project)}{project.pk}/delete/", {"post": "yes"})
    act(operator, "delete_selected", project, post="yes")

    assert response.status_code == 403
    assert Project.objects.exists()


def test_search_finds_ids_id_prefixes_and_names(operator: Client):
    project = ProjectFactory(name="Summaries of papers")
    ProjectFactory(name="翻译")

    for text in (project.pk, project.pk[:12], "summaries", "papers summaries"):
        assert rows_in(operator, Project, q=text) == [project], text


def test_queries_do_not_grow_with_rows(operator: Client):
    ProjectFactory.create_batch(2)
    count = len(queries_of(operator, Project))
    ProjectFactory.create_batch(20)

    assert len(queries_of(operator, Project)) == count
