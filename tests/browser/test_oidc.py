"""Sign-in by OpenID Connect in a browser, at a real web server and a real provider."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.accounts.oidc.provider import Provider
from tests.browser.site import Site
from tests.web_server import WebServer, web_server

# Of the provider, which is told of changes in the library that it is built with.
pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

CLAIMS = {"email": "li@example.org", "email_verified": True, "preferred_username": "xiaoli"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider().running() as provider:
        yield provider


@pytest.fixture(scope="module")
def server(site: Site, provider: Provider, tmp_path_factory) -> Iterator[WebServer]:
    """On the demo data, with sign-in required."""
    data: Path = tmp_path_factory.mktemp("oidc")
    static = Path(os.environ["TRAINHUB_TEST_DIR"]) / "demo" / "static"
    with web_server(
        data,
        DATABASE_URL=site.database_url,
        TRAINHUB_STATIC_ROOT=static,
        TRAINHUB_OPEN_MODE="false",
        TRAINHUB_OIDC_ISSUER=provider.url,
        TRAINHUB_OIDC_CLIENT_ID="trainhub",
        TRAINHUB_OIDC_CLIENT_SECRET="secret",
        TRAINHUB_OIDC_NAME="Example SSO",
        TRAINHUB_OIDC_CREATE_USERS="true",
        TRAINHUB_OIDC_DOMAINS="example.org",
    ) as running:
        yield running


@pytest.fixture
def page(chromium: Browser, server: WebServer) -> Iterator[Page]:
    context = chromium.new_context(base_url=server.url, locale="en-US")
    yield context.new_page()
    context.close()


def agree(page: Page, sub: str) -> None:
    """At the provider."""
    page.locator("input[name=sub]").fill(sub)
    page.get_by_role("button", name="Authorize").click()


def test_person_of_the_provider_signs_in_and_out(page: Page, provider: Provider):
    provider.know("1", **CLAIMS)
    page.goto("/dashboard/recipes")

    page.get_by_role("button", name="Example SSO").click()
    agree(page, "1")

    expect(page).to_have_url(re.compile("/dashboard/recipes$"))
    expect(page.locator(".account")).to_contain_text("xiaoli")
    page.locator("form[action='/logout'] button").click()
    expect(page.locator("[name=password]")).to_be_visible()


def test_person_of_another_domain_is_refused_on_the_sign_in_page(page: Page, provider: Provider):
    provider.know("2", **CLAIMS | {"email": "li@elsewhere.org"})
    page.goto("/login")

    page.get_by_role("button", name="Example SSO").click()
    agree(page, "2")

    expect(page.locator(".message.error")).to_be_visible()
    expect(page.locator("[name=password]")).to_be_visible()
