"""Every kind of response says what a browser may do with it, and never allows inline scripts."""

import pytest
from django.test import Client

from core import security_headers
from metrics.points import Point, Points
from metrics.recording import record_points
from tests.clients import ApiClient
from tests.factories import RunFactory, checkpoint

pytestmark = pytest.mark.django_db

ADDRESSES = [
    *("/dashboard", "/dashboard/no-such-page", "/login", "/admin/login/", "/static/favicon.svg"),
    *("/projects", "/projects/proj_000000000000", "/healthz", "/readyz", "/health", "/version"),
    *("/metrics", "/schema", "/docs", "/docs?script=", "/redoc", "/", "/no-such-address"),
    *("/api/2.0/mlflow/experiments/search", "/favicon.ico"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_response_has_a_policy_without_inline_scripts(address):
    answer = Client(SERVER_NAME="localhost", raise_request_exception=False).get(address)

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("address", ["/dashboard", "/docs", "/redoc", "/admin/login/"])
def test_page_refuses_what_no_page_asks_for(address):
    answer = Client(SERVER_NAME="localhost").get(address)

    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_download_of_an_artifact_is_put_into_a_sandbox():
    run = RunFactory()
    checkpoint(run)

    answer = ApiClient().get(
        f"/projects/{run.project_id}/runs/{run.pk}/artifacts/files/step-00000100.pt"
    )

    assert answer.getvalue()
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_identity_provider_may_be_where_forms_lead(settings):
    settings.CSP_FORM_ORIGINS = ["https://id.example.org"]

    assert "form-action 'self' https://id.example.org;" in security_headers.page_policy()


def test_pages_with_tracebacks_keep_their_inline_styles(settings):
    settings.DEBUG = True

    answer = Client(SERVER_NAME="localhost").get("/dashboard/no-such-page")

    assert answer.status_code == 404
    assert "Content-Security-Policy" not in answer.headers


def test_picture_of_curves_allows_its_own_style_sheet_alone():
    run = RunFactory()
    record_points(run.pk, Points.of([Point("loss", 1, 0.5, 0), Point("loss", 2, 0.4, 1)]))

    answer = ApiClient().get(
        f"/projects/{run.project_id}/runs/{run.pk}/metrics/plot.svg?keys=loss&theme=auto"
    )

    style = answer.content.decode().partition("<style>")[2].partition("</style>")[0]
    assert style
    assert security_headers.style_hash(style) in answer.headers["Content-Security-Policy"]
