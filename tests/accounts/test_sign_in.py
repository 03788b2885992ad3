"""When sign-in is required, every URL requires it; sessions also require CSRF tokens."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from accounts.roles import Role
from core.pages import PREFIXES
from projects.models import Project
from tests.factories import ProjectFactory, UserFactory, member_of

pytestmark = pytest.mark.django_db

# URLs that need no sign-in: the login pages and the health checks (orchestrators have no account).
# The root redirects to the dashboard, which requires sign-in.
OPEN = {
    "",
    "login",
    "login/reset",
    "login/reset/sent",
    "login/reset/<uidb64>/<token>",
    "admin/login/",
    "dashboard/language",
    "dashboard/theme",
    "healthz",
    "health",
    "favicon.ico",
}
OPEN |= {"admin", "dashboard/"}  # redirects to what is protected


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern).removeprefix("^")
        if isinstance(entry, URLResolver):
            yield from routes(entry, route)
        else:
            yield route, entry


def concrete(route: str) -> str:
    """A path that matches ``route``, with ids that do not exist."""
    route = re.sub(r"\(\?P<\w+>\[0-9\][^)]*\)|<int:\w+>", "1", route)
    route = re.sub(r"\(\?P<app_label>([a-z]+)[^)]*\)", r"\1", route)
    route = re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]+>", "x1", route)
    return "/" + re.sub(r"\\Z|\$|\\(?=\.)", "", route)


PROTECTED = {concrete(route) for route, _entry in routes(get_resolver()) if route not in OPEN}
PAGES = sorted(path for path in PROTECTED if path.startswith(PREFIXES))
API = sorted(PROTECTED - set(PAGES))


@pytest.fixture(autouse=True)
def require_sign_in(settings: Settings) -> None:
    settings.OPEN_MODE = False


def test_url_list_includes_every_kind_of_url():
    assert {"/projects", "/recipes", "/docs", "/redoc", "/schema"} <= set(API)
    assert {"/projects/x1/runs/x1/artifacts/x1/download", "/api/2.0/mlflow/runs/get"} <= set(API)
    assert {"/dashboard", "/dashboard/projects/x1/runs/x1/cancel", "/admin/"} <= set(PAGES)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_api_without_sign_in_is_401(client: Client, method: str):
    answers = {path: client.generic(method, path) for path in API}

    assert {path for path, answer in answers.items() if answer.status_code != 401} == set()
    challenges = {answer.headers.get("WWW-Authenticate") for answer in answers.values()}
    assert challenges == {"Bearer"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_page_without_sign_in_redirects_to_login(client: Client, method: str):
    answers = {path: client.generic(method, path) for path in PAGES}

    assert {path for path, answer in answers.items() if answer.status_code != 302} == set()
    targets = {answer.headers["Location"].partition("?")[0] for answer in answers.values()}
    assert targets == {"/login", "/admin/login/"}


def test_login_redirect_keeps_the_requested_url(client: Client):
    response = client.get("/dashboard/projects/x1?tab=runs")

    assert response.headers["Location"] == "/login?next=/dashboard/projects/x1%3Ftab%3Druns"


def test_login_does_not_redirect_to_another_site(client: Client):
    User.objects.create_user("xiaoli", password="correct horse battery")
    form = {"username": "xiaoli", "password": "correct horse battery"}

    response = client.post("/login?next=https://evil.example/", form)

    assert response.headers["Location"] == "/dashboard"


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_login_page_needs_no_sign_in(client: Client, path: str):
    assert client.get(path).status_code == 200


def test_sign_in_needs_a_csrf_token():
    client = Client(enforce_csrf_checks=True)
    User.objects.create_user("xiaoli", password="correct horse battery")

    response = client.post("/login", {"username": "xiaoli", "password": "correct horse battery"})

    assert response.status_code == 403


def test_unknown_url_is_404_without_sign_in(client: Client):
    assert client.get("/nothing-here").status_code == 404


def test_signed_in_user_can_read_api_docs_and_pages(client: Client):
    client.force_login(UserFactory())

    for path in ("/projects", "/schema", "/docs", "/redoc", "/dashboard"):
        assert client.get(path).status_code == 200, path


def test_user_without_staff_status_cannot_open_the_admin(client: Client):
    client.force_login(UserFactory())

    assert client.get("/admin/").status_code == 302


def test_session_of_an_inactive_user_is_rejected(client: Client):
    user = UserFactory()
    client.force_login(user)
    user.is_active = False
    user.save()

    assert client.get("/projects").status_code == 401


def test_session_signed_with_a_former_key_survives_api_requests(client: Client, settings):
    settings.SECRET_KEY = "former" * 10
    client.force_login(UserFactory())
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "current" * 10, ["former" * 10]

    codes = [client.get(path).status_code for path in ("/projects", "/projects", "/dashboard")]

    assert codes == [200, 200, 200]


# --- changes by session require a CSRF token -------------------------------------------------


@pytest.fixture
def signed_in() -> Client:
    client = Client(enforce_csrf_checks=True, headers={"Host": "localhost:8000"})
    client.force_login(UserFactory(username="xiaoli"))
    return client


def test_session_without_csrf_token_changes_nothing(signed_in: Client):
    response = signed_in.post("/projects", {"name": "x"}, content_type="application/json")

    assert response.status_code == 403
    assert response.json()["errors"][0]["code"] == "permission_denied"
    assert not Project.objects.exists()


def test_session_with_csrf_token_creates_a_project(signed_in: Client):
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


def test_csrf_token_from_another_origin_is_refused(signed_in: Client):
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
def test_page_form_without_csrf_token_is_refused(signed_in: Client, path: str):
    project = ProjectFactory()
    signed_in.force_login(UserFactory(is_staff=True, is_superuser=True))

    response = signed_in.post(
        path.format(id=project.pk), {"action": "archive", "_selected_action": project.pk}
    )

    assert response.status_code == 403
    project.refresh_from_db()
    assert not project.is_archived


# --- GET changes nothing ---------------------------------------------------------------------


@pytest.mark.parametrize("action", ["archive", "reopen"])
def test_get_of_a_project_action_is_405(client: Client, action: str):
    project = ProjectFactory()
    client.force_login(member_of(project, Role.OWNER))

    assert client.get(f"/dashboard/projects/{project.pk}/{action}").status_code == 405


@pytest.mark.parametrize(
    "path", ["/projects/{p}/runs/{r}/cancel", "/dashboard/projects/{p}/runs/{r}/retry"]
)
def test_get_of_a_run_action_is_405(client: Client, path: str):
    project = ProjectFactory()
    client.force_login(member_of(project))

    assert client.get(path.format(p=project.pk, r="x1")).status_code == 405
