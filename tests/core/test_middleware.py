"""Page middleware runs only for pages; API requests get the language and security headers."""

import pytest
from django.conf import settings as project_settings
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from django.utils import translation
from django.utils.module_loading import import_string

from core.middleware import PagesMiddleware
from tests.clients import ApiClient
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


def undeclared(request):
    return HttpResponse("no authentication required")


urlpatterns = [path("undeclared", undeclared), path("dashboard/undeclared", undeclared)]


def test_page_has_a_session_and_messages():
    request = RequestFactory().get("/dashboard")

    PagesMiddleware(lambda request: HttpResponse())(request)

    assert all(hasattr(request, name) for name in ("session", "user", "_messages"))


@pytest.mark.parametrize("address", ["/projects", "/api/2.0/mlflow/runs/get", "/healthz", "/docs"])
def test_api_request_has_no_session_or_messages(address):
    request = RequestFactory().get(address)

    PagesMiddleware(lambda request: HttpResponse())(request)

    assert not any(hasattr(request, name) for name in ("session", "user", "_messages"))


@pytest.mark.parametrize(
    ("header", "language"), [("en", "en"), ("zh-CN", "zh-hans"), ("fr", "zh-hans"), ("", "zh-hans")]
)
def test_api_language_follows_accept_language(header, language):
    languages = []
    request = RequestFactory().get("/projects", headers={"Accept-Language": header})

    def respond(request):
        languages.append(translation.get_language())
        return HttpResponse()

    PagesMiddleware(respond)(request)

    assert languages == [language]


@pytest.mark.parametrize("address", ["/dashboard", "/projects"])
def test_language_does_not_leak_into_the_next_request(address):
    languages = []
    middleware = PagesMiddleware(
        lambda request: languages.append(translation.get_language()) or HttpResponse()
    )

    middleware(RequestFactory().get(address, headers={"Accept-Language": "en"}))
    middleware(RequestFactory().get("/projects"))

    assert languages == ["en", "zh-hans"]


def test_api_view_without_login_not_required_is_403(settings):
    settings.ROOT_URLCONF = __name__
    settings.OPEN_MODE = False

    assert Client().get("/undeclared").status_code == 403


def test_page_without_login_not_required_redirects_to_login(settings):
    settings.ROOT_URLCONF = __name__
    settings.OPEN_MODE = False
    settings.LOGIN_URL = "/login"

    answer = Client().get("/dashboard/undeclared")

    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        "/login?next=/dashboard/undeclared",
    )


def test_domain_error_on_a_page_redirects_back():
    run = RunFactory(status="已完成", progress=1.0)
    url = f"/dashboard/projects/{run.project_id}/runs/{run.pk}"

    answer = Client().post(f"{url}/cancel", headers={"Referer": f"http://testserver{url}"})

    assert (answer.status_code, answer.headers["Location"]) == (302, f"http://testserver{url}")


def test_page_middleware_is_in_the_required_order():
    """Django's admin checks only look at MIDDLEWARE, so they are silenced in the settings."""
    paths = project_settings.PAGES_MIDDLEWARE

    order = ["SessionMiddleware", "AuthenticationMiddleware", "MessageMiddleware"]
    names = [import_string(path).__name__ for path in paths]
    assert [name for name in names if name in order] == order


def test_api_sends_the_same_security_headers_as_pages():
    run = RunFactory()

    api = ApiClient().get(f"/projects/{run.project_id}/runs/{run.pk}")
    page = Client().get(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")

    for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"):
        assert api.headers[name] == page.headers[name]


def test_api_sends_strict_transport_security_over_https(settings):
    settings.SECURE_HSTS_SECONDS = 3600

    plain, secure = ApiClient().get("/healthz"), ApiClient().get("/healthz", secure=True)

    assert "Strict-Transport-Security" not in plain.headers
    assert secure.headers["Strict-Transport-Security"] == "max-age=3600"


@pytest.mark.parametrize("address", ["/healthz", "/projects", "/dashboard"])
def test_unknown_host_is_refused_with_security_headers(address):
    answer = Client().get(address, headers={"Host": "evil.example"})

    assert answer.status_code == 400
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
