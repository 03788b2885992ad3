"""GET /audit and its page: filters, pages, files, and who sees what."""

import csv
import io
import json

import pytest
from django.test import Client
from django.utils import translation

from accounts.models import Team, Token
from accounts.roles import Role, Scope
from audit.models import Entry
from audit.names import KINDS, VERBS
from core.audited import declared
from tests.factories import ProjectFactory, RunFactory, UserFactory, member_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


def client_of(user, **token) -> Client:
    client = Client()
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {Token.issue(user, **token)[1]}"
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return client_of(UserFactory(username="root", is_staff=True, is_superuser=True))


def found(client: Client, **query) -> list[dict]:
    response = client.get("/audit", query)
    assert response.status_code == 200, response.content
    return response.json()


def subjects(client: Client, **query) -> set[str]:
    return {entry["subject_id"] for entry in found(client, limit=500, **query)}


# --- Who sees what ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "sees"),
    [(Role.VIEWER, False), (Role.MEMBER, False), (Role.MAINTAINER, True), (Role.OWNER, True)],
)
def test_entries_of_a_project_are_for_those_who_maintain_it(role, sees):
    project, other = ProjectFactory(), ProjectFactory()
    client = client_of(member_of(project, role))

    assert (project.pk in subjects(client)) is sees
    assert other.pk not in subjects(client)


@pytest.mark.parametrize(("role", "sees"), [(Role.MAINTAINER, False), (Role.OWNER, True)])
def test_entries_of_a_team_are_for_its_owners(role, sees):
    team, user = Team.create("t", by=UserFactory()), UserFactory()
    team.add(user, role, by=None)

    assert (team.pk in subjects(client_of(user))) is sees


def test_stranger_finds_nothing_by_any_filter():
    project = ProjectFactory()
    client = client_of(UserFactory())

    assert found(client, project_id=project.pk) == []
    assert found(client, subject_id=project.pk) == []
    assert client.get("/audit", {"format": "jsonl"}).getvalue() == b""
    assert project.pk not in client.get("/dashboard/audit").content.decode()


def test_superuser_sees_all(operator):
    project = ProjectFactory()
    member_of(project)

    assert {entry["kind"] for entry in found(operator)} >= {"project", "project_role", "user"}


def test_token_of_a_project_shows_its_entries_alone():
    project, other = ProjectFactory(), ProjectFactory()
    client = client_of(UserFactory(is_superuser=True), project_id=project.pk)

    assert project.pk in subjects(client)
    assert other.pk not in subjects(client)


def test_token_that_only_reads_shows_nothing():
    ProjectFactory()

    assert found(client_of(UserFactory(is_superuser=True), scope=Scope.READ)) == []


def test_script_is_refused():
    run = RunFactory()
    client = client_of(UserFactory(is_superuser=True), run_id=run.pk, scope=Scope.WRITE)

    assert client.get("/audit").status_code == 403


# --- Filters, pages, files -------------------------------------------------------------------


def test_filters_choose(operator):
    project = ProjectFactory()
    project.revise({"name": "b"}, by=None)
    user = member_of(project)

    assert {entry["project_id"] for entry in found(operator, project_id=project.pk)} == {project.pk}
    [changed] = found(operator, action="project.changed")
    assert changed["before"] == {"name": "中文摘要系统"}
    assert [entry["name"] for entry in found(operator, kind="project_role")] == [user.username]
    assert found(operator, start_time="2100-01-01T00:00:00Z") == []
    assert found(operator, end_time="2000-01-01T00:00:00Z") == []
    assert found(operator, token_id="token_none") == []


def test_pages_follow_each_other_without_a_gap(operator):
    ProjectFactory.create_batch(5)
    everything = [entry["id"] for entry in found(operator, kind="project")]

    response, seen = operator.get("/audit", {"kind": "project", "limit": 2}), []
    seen += [entry["id"] for entry in response.json()]
    while "Link" in response:
        response = operator.get(response["Link"].partition(">")[0][1:])
        seen += [entry["id"] for entry in response.json()]

    assert len(everything) == 5
    assert seen == everything == sorted(everything, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        {"after": "x"},
        {"after": "9" * 19 + "-1"},
        {"limit": "0"},
        {"start_time": "yesterday"},
        {"actor": "\x00"},
        {"format": "xml"},
        {"projekt": "a"},
    ],
)
def test_bad_query_is_refused(operator, query):
    assert operator.get("/audit", query).status_code == 400


def test_lines_of_json_hold_all_that_match(operator, monkeypatch):
    monkeypatch.setattr("audit.search.BATCH", 2)
    ProjectFactory.create_batch(5)

    content = operator.get("/audit", {"format": "jsonl", "kind": "project"}).getvalue()

    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["action"] for line in lines] == ["project.created"] * 5


def test_csv_has_no_formula(operator):
    ProjectFactory(name="=1+1")

    content = operator.get("/audit", {"format": "csv", "kind": "project"}).getvalue().decode()

    [row] = csv.DictReader(io.StringIO(content))
    assert row["name"] == "'=1+1"
    assert json.loads(row["after"])["base_model"] == "llama-2-13b"


# --- The page and the admin ------------------------------------------------------------------


def test_page_tells_what_was_changed_by_whom(operator):
    project = ProjectFactory(name="before")
    project.revise({"name": "after"}, by=None)

    with translation.override("en"):
        page = operator.get(
            "/dashboard/audit", {"kind": "project"}, headers={"accept-language": "en"}
        )

    text = " ".join(page.content.decode().split())
    assert "<code>name</code> before → after" in text
    assert f"/dashboard/projects/{project.pk}" in text


@pytest.mark.parametrize("query", [{"since": "x"}, {"actor": "\x00"}, {"until": "9999-12-31"}])
def test_page_survives_a_bad_filter(operator, query):
    assert operator.get("/dashboard/audit", query).status_code == 200


def test_page_as_csv_holds_what_its_filters_choose(operator):
    ProjectFactory()

    content = operator.get("/dashboard/audit.csv", {"kind": "project"}).getvalue().decode()

    assert [row["kind"] for row in csv.DictReader(io.StringIO(content))] == ["project"]


def test_admin_shows_entries_and_changes_none(admin_client):
    ProjectFactory()
    entry = Entry.objects.latest("id")
    address = f"/admin/audit/entry/{entry.pk}"

    assert admin_client.get("/admin/audit/entry/?q=project.created").status_code == 200
    assert admin_client.get(f"{address}/change/").status_code == 200
    assert admin_client.post(f"{address}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get("/admin/audit/entry/add/").status_code == 403


def test_every_kind_and_verb_has_a_name():
    verbs = {
        verb
        for specification in declared()
        for verbs in specification.actions.values()
        for verb in verbs
    }

    assert KINDS.keys() == {specification.kind for specification in declared()} | {"session"}
    used = verbs | {"created", "changed", "deleted", "signed_in", "signed_out", "refused"}
    assert VERBS.keys() == used
