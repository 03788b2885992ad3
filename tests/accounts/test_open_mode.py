"""Open mode accepts requests from programs on this machine, but not from other origins' pages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from projects.models import Project
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db

PROJECT = b'{"name": "x"}'
FORM = "application/x-www-form-urlencoded"

CROSS_ORIGIN = pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="another-site"),
        pytest.param({"Origin": "http://localhost:3000"}, id="another-port"),
        pytest.param({"Origin": "http://localhost"}, id="the-default-port"),
        pytest.param({"Origin": "http://127.0.0.1:8000"}, id="another-name-of-this-host"),
        pytest.param({"Origin": "http://localhost:8000.evil.example"}, id="a-longer-name"),
        pytest.param({"Origin": "http://evil.example@localhost:8000"}, id="with-user"),
        pytest.param({"Origin": "null"}, id="a-sandboxed-frame"),
        pytest.param({"Origin": ""}, id="empty"),
        pytest.param({"Origin": "http://["}, id="malformed"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="fetch-cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="fetch-same-site"),
        pytest.param(
            {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "cross-site"}, id="contradiction"
        ),
    ],
)
SAME_ORIGIN = pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="curl"),
        pytest.param({"Sec-Fetch-Site": "none"}, id="address-bar"),
        pytest.param(
            {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, id="own-page"
        ),
        pytest.param({"Origin": "HTTP://LOCALHOST:8000"}, id="in-capitals"),
    ],
)


@pytest.fixture
def browser(settings: Settings) -> Client:
    settings.OPEN_MODE = True
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    return Client(enforce_csrf_checks=True, headers={"Host": "localhost:8000"})


def cancel_path(run: Run) -> str:
    return f"/projects/{run.project_id}/runs/{run.pk}/cancel"


@SAME_ORIGIN
def test_local_request_creates_a_project(browser: Client, headers: dict[str, str]):
    response = browser.post("/projects", PROJECT, content_type="application/json", headers=headers)

    assert response.status_code == 201
    assert Project.objects.count() == 1


def test_changes_are_attributed_to_the_local_administrator(browser: Client):
    browser.post("/projects", PROJECT, content_type="application/json")

    assert Project.objects.get().versions()[0].changed_by == "admin"


@CROSS_ORIGIN
def test_cross_origin_request_creates_nothing(browser: Client, headers: dict[str, str]):
    response = browser.post("/projects", PROJECT, content_type="application/json", headers=headers)

    assert response.status_code == 403
    assert response.json()["type"] == "client_error"
    assert response.json()["errors"][0]["code"] == "permission_denied"
    assert not Project.objects.exists()


@CROSS_ORIGIN
def test_cross_origin_request_with_empty_body_cancels_nothing(
    browser: Client, headers: dict[str, str]
):
    run = RunFactory()

    response = browser.generic("POST", cancel_path(run), headers=headers)

    assert response.status_code == 403
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


@SAME_ORIGIN
def test_local_request_with_empty_body_cancels_a_run(browser: Client, headers: dict[str, str]):
    run = RunFactory()

    response = browser.generic("POST", cancel_path(run), headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_cross_origin_request_is_refused_for_any_method(browser: Client, method: str):
    project = ProjectFactory()

    response = browser.generic(
        method,
        f"/projects/{project.pk}",
        b'{"name": "y"}',
        content_type="application/json",
        headers={"Origin": "https://evil.example"},
    )

    assert response.status_code == 403
    project.refresh_from_db()
    assert project.name != "y"


@pytest.mark.parametrize(
    "kind", [FORM, "multipart/form-data; boundary=b", "text/plain", "Text/Plain"]
)
@pytest.mark.parametrize("body", [PROJECT, b""], ids=["json-in-disguise", "empty"])
def test_form_content_type_is_refused(browser: Client, kind: str, body: bytes):
    """Even without Origin and Sec-Fetch-Site, which old browsers do not send."""
    response = browser.generic("POST", "/projects", body, CONTENT_TYPE=kind)

    assert response.status_code == 415
    assert not Project.objects.exists()


@pytest.mark.parametrize("kind", [FORM, "text/plain"])
def test_form_post_cancels_nothing(browser: Client, kind: str):
    run = RunFactory()

    response = browser.generic("POST", cancel_path(run), CONTENT_TYPE=kind)

    assert response.status_code == 415
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


@pytest.mark.parametrize("path", ["/projects", "/dashboard", "/admin/", "/docs", "/schema"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example"])
def test_unknown_host_name_is_refused(browser: Client, path: str, host: str):
    """DNS rebinding: an attacker's host name for 127.0.0.1 makes its page same-origin."""
    response = browser.get(path, headers={"Host": host})

    assert response.status_code == 400


def test_cors_headers_are_not_sent(browser: Client):
    response = browser.get("/projects", headers={"Origin": "https://evil.example"})

    assert not [name for name in response.headers if name.startswith("Access-Control-")]


def test_preflight_request_allows_nothing(browser: Client):
    headers = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }

    response = browser.options("/projects", headers=headers)

    assert not [name for name in response.headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize("peer", ["192.168.1.7", "203.0.113.5", "fe80::1", "::ffff:10.0.0.1", ""])
@pytest.mark.parametrize("path", ["/projects", "/dashboard", "/docs"])
def test_request_from_another_machine_is_refused(browser: Client, peer: str, path: str):
    response = browser.get(path, REMOTE_ADDR=peer)

    assert response.status_code == 403


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_request_from_any_loopback_address_is_accepted(browser: Client, peer: str):
    assert browser.get("/projects", REMOTE_ADDR=peer).status_code == 200


def test_page_needs_no_sign_in(browser: Client):
    assert browser.get("/dashboard").status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
def test_cross_origin_form_is_refused(browser: Client, origin: str):
    response = browser.post("/dashboard", {"name": "x"}, headers={"Origin": origin})

    assert response.status_code == 403


def test_form_without_csrf_token_is_refused(browser: Client):
    response = browser.post("/dashboard/projects/new", {"name": "x"})

    assert response.status_code == 403
    assert not Project.objects.exists()


def test_admin_still_requires_a_password(browser: Client):
    response = browser.get("/admin/")

    assert response.status_code == 302
    assert response.headers["Location"] == "/admin/login/?next=/admin/"


def test_local_administrator_has_no_usable_password(browser: Client):
    browser.post("/projects", {"name": "…"}, content_type="application/json")

    user = User.objects.get()
    assert user.username == "admin"
    assert user.is_superuser
    assert not user.has_usable_password()


def test_existing_administrator_is_used(browser: Client):
    User.objects.create_superuser("admin", password="correct horse battery")

    browser.get("/projects")

    assert User.objects.get().check_password("correct horse battery")


@pytest.mark.parametrize(
    "header",
    ["Bearer th_wrong", "Bearer", "Basic !!!", "Basic eDp3cm9uZw==", "Digest username=x", "th_x"],
)
def test_invalid_credentials_are_refused_not_ignored(browser: Client, header: str):
    """A client that sends a token expects it to be checked, even in open mode."""
    response = browser.get("/projects", headers={"Authorization": header})

    assert response.status_code == 401


def test_empty_authorization_header_is_ignored(browser: Client):
    assert browser.get("/projects", headers={"Authorization": " "}).status_code == 200


def test_without_open_mode_requests_are_not_authenticated(client: Client, settings: Settings):
    settings.OPEN_MODE = False

    response: Any = client.get("/projects")

    assert response.status_code == 401
    assert not User.objects.exists()
