"""The switch between light and dark."""

import pytest

pytestmark = pytest.mark.django_db


def test_theme_is_that_of_the_system_by_default(client):
    assert "data-theme" not in client.get("/dashboard").content.decode()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_is_kept_for_later_pages(client, theme):
    client.post("/dashboard/theme", {"theme": theme})

    assert f'data-theme="{theme}"' in client.get("/dashboard").content.decode()


def test_theme_of_the_system_can_be_had_again(client):
    client.post("/dashboard/theme", {"theme": "dark"})
    client.post("/dashboard/theme", {"theme": ""})

    assert "data-theme" not in client.get("/dashboard").content.decode()


@pytest.mark.parametrize("theme", ["pink", '"><script>', "x" * 10_000])
def test_unknown_theme_is_none(client, theme):
    client.post("/dashboard/theme", {"theme": theme})

    assert "data-theme" not in client.get("/dashboard").content.decode()


def test_forged_cookie_is_not_shown(client):
    client.cookies["theme"] = "x onload=alert(1)"

    assert "onload" not in client.get("/dashboard").content.decode()


def test_switch_returns_to_the_page(client):
    response = client.post("/dashboard/theme", {"theme": "dark", "next": "/dashboard/workers?a=1"})

    assert response.headers["Location"] == "/dashboard/workers?a=1"


@pytest.mark.parametrize("next_page", ["https://example.org/", "//example.org", "javascript:1"])
def test_switch_does_not_lead_to_other_hosts(client, next_page):
    response = client.post("/dashboard/theme", {"theme": "dark", "next": next_page})

    assert response.headers["Location"] == "/dashboard"
