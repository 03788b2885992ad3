"""Where sign-in is needed, nothing opens without it: every address there is, and sessions."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from projects.models import Project
from tests.factories import ProjectFactory, UserFactory
from trainhub import errors

pytestmark = pytest.mark.django_db

# What answers without sign-in: the way in, and what asks whether the server is up (orchestrators
# have no account). The root leads to the dashboard, which asks.
OPEN = {"", "login", "admin/login/", "dashboard/language", "healthz", "health", "favicon.ico"}


def addresses(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = before + str(entry.pattern).removeprefix("^")
        if isinstance(entry, URLResolver):
            yield from addresses(entry, route)
        else:
            yield route, entry


def concrete(route: str) -> str:
    """A path that ``route`` matches; no such project, run, … exists."""
    route = re.sub(r"\(\?P<app_label>([a-z]+)[^)]*\)", r"\1", route)
    route = re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]+>", "x1", route)
    return "/" + re.sub(r"\\Z|\$", "", route)


EVERY = {concrete(route) for route, _entry in addresses(get_resolver()) if route not in OPEN}
PAGES = sorted(path for path in EVERY if path.startswith(errors.PAGES))
API = sorted(EVERY - set(PAGES))


@pytest.fixture(autouse=True)
def sign_in_needed(settings: Settings) -> None:
    settings.OPEN_MODE = False


def test_the_addresses_are_all_there():
    assert {"/projects", "/recipes", "/docs", "/redoc", "/schema"} <= set(API)
    assert {"/projects/x1/runs/x1/artifacts/x1/download", "/api/2.0/mlflow/runs/get"} <= set(API)
    assert {"/dashboard", "/dashboard/projects/x1/runs/x1/cancel", "/admin/"} <= set(PAGES)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_no_api_answers_without_sign_in(client: Client, method: str):
    answers = {path: client.generic(method, path) for path in API}

    assert {path for path, answer in answers.items() if answer.status_code != 401} == set()
    challenges = {answer.headers.get("WWW-Authenticate") for answer in answers.values()}
    assert challenges == {"Bearer"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_page_leads_to_sign_in(client: Client, method: str):
    answers = {path: client.generic(method, path) for path in PAGES}

    assert {path for path, answer in answers.items() if answer.status_code != 302} == set()
    targets = {answer.headers["Location"].partition("?")[0] for answer in answers.values()}
    assert targets == {"/login", "/admin/login/"}


def test_sign_in_leads_back_to_where_one_wanted_to_go(client: Client):
    response = client.get("/dashboard/projects/x1?tab=runs")

    assert response.headers["Location"] == "/login?next=/dashboard/projects/x1%3Ftab%3Druns"


def test_sign_in_leads_nowhere_else(client: Client):
    User.objects.create_user("xiaoli", password="correct horse battery")
    form = {"username": "xiaoli", "password": "correct horse battery"}

    response = client.post("/login?next=https://evil.example/", form)

    assert response.headers["Location"] == "/dashboard"


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_the_way_in_is_open(client: Client, path: str):
    assert client.get(path).status_code == 200


def test_sign_in_needs_a_csrf_token():
    client = Client(enforce_csrf_checks=True)
    User.objects.create_user("xiaoli", password="correct horse battery")

    response = client.post("/login", {"username": "xiaoli", "password": "correct horse battery"})

    assert response.status_code == 403


def test_an_unknown_address_says_nothing_of_what_there_is(client: Client):
    assert client.get("/nothing-here").status_code == 404


def test_a_user_who_is_signed_in_reads_the_api_the_docs_and_the_pages(client: Client):
    client.force_login(UserFactory())

    for path in ("/projects", "/schema", "/docs", "/redoc", "/dashboard"):
        assert client.get(path).status_code == 200, path


def test_a_user_who_is_no_staff_has_no_admin(client: Client):
    client.force_login(UserFactory())

    assert client.get("/admin/").status_code == 302


def test_an_inactive_users_session_is_over(client: Client):
    user = UserFactory()
    client.force_login(user)
    user.is_active = False
    user.save()

    assert client.get("/projects").status_code == 401


# --- a session changes things with a CSRF token alone ----------------------------------------


@pytest.fixture
def signed_in() -> Client:
    client = Client(enforce_csrf_checks=True, headers={"Host": "localhost:8000"})
    client.force_login(UserFactory(username="xiaoli"))
    return client


def test_a_session_without_csrf_token_changes_nothing(signed_in: Client):
    response = signed_in.post("/projects", {"name": "x"}, content_type="application/json")

    assert response.status_code == 403
    assert response.json()["errors"][0]["code"] == "permission_denied"
    assert not Project.objects.exists()


def test_a_session_with_csrf_token_creates(signed_in: Client):
    token = "a" * 32
    signed_in.cookies["csrftoken"] = token

    response = signed_in.post(
        "/projects",
        {"name": "x"},
        content_type="application/json",
        headers={"X-CSRFToken": token, "Origin": "http://localhost:8000"},
    )

    assert response.status_code == 201
    assert Project.objects.get().versions()[0].changed_by == "xiaoli"


def test_a_csrf_token_does_not_help_another_origin(signed_in: Client):
    token = "a" * 32
    signed_in.cookies["csrftoken"] = token

    response = signed_in.post(
        "/projects",
        {"name": "x"},
        content_type="application/json",
        headers={"X-CSRFToken": token, "Origin": "http://localhost:3000"},
    )

    assert response.status_code == 403
    assert not Project.objects.exists()


@pytest.mark.parametrize("path", ["/dashboard/projects/{id}/archive", "/admin/projects/project/"])
def test_a_page_takes_no_form_without_csrf_token(signed_in: Client, path: str):
    project = ProjectFactory()
    signed_in.force_login(UserFactory(is_staff=True, is_superuser=True))

    response = signed_in.post(
        path.format(id=project.pk), {"action": "archive", "_selected_action": project.pk}
    )

    assert response.status_code == 403
    project.refresh_from_db()
    assert not project.is_archived


# --- reading changes nothing -----------------------------------------------------------------


@pytest.mark.parametrize("action", ["archive", "reopen"])
def test_a_project_changes_by_no_get(client: Client, action: str):
    project = ProjectFactory()
    client.force_login(UserFactory())

    assert client.get(f"/dashboard/projects/{project.pk}/{action}").status_code == 405


@pytest.mark.parametrize(
    "path", ["/projects/{p}/runs/{r}/cancel", "/dashboard/projects/{p}/runs/{r}/retry"]
)
def test_a_run_changes_by_no_get(client: Client, path: str):
    client.force_login(UserFactory())

    assert client.get(path.format(p="x1", r="x1")).status_code == 405
