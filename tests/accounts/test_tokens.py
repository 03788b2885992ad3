"""API tokens: they authenticate as their user, and nothing else does when sign-in is required."""

import base64
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import Token
from projects.models import Project
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings: Settings) -> None:
    settings.OPEN_MODE = False


@pytest.fixture
def user() -> User:
    return UserFactory(username="xiaoli")


def token_of(user: User, **fields: Any) -> str:
    return Token.issue(user, **fields)[1]


def basic(name: str, password: str | bytes) -> str:
    secret = password if isinstance(password, bytes) else password.encode()
    return "Basic " + base64.b64encode(name.encode() + b":" + secret).decode()


def ask(client: Client, authorization: str | None, **extra: Any) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return client.get("/projects", headers=headers, **extra)


def assert_refused(response: Any, code: str) -> None:
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/json"
    content = response.json()
    assert content["type"] == "client_error"
    assert [error["code"] for error in content["errors"]] == [code]
    assert content["errors"][0]["attr"] is None
    assert content["errors"][0]["detail"]


def test_bearer_token_authenticates_its_user(client: Client, user: User):
    response = client.post(
        "/projects",
        {"name": "x"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token_of(user)}"},
    )

    assert response.status_code == 201
    assert Project.objects.get().versions()[0].changed_by == "xiaoli"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_scheme_is_case_insensitive(client: Client, user: User, scheme: str):
    assert ask(client, f"{scheme} {token_of(user)}").status_code == 200


@pytest.mark.parametrize("name", ["", "xiaoli", "anybody", "小李"])
def test_basic_password_is_a_token_for_any_username(client: Client, user: User, name: str):
    assert ask(client, basic(name, token_of(user))).status_code == 200


def test_token_lookup_takes_one_query(
    client: Client, user: User, django_assert_num_queries: DjangoAssertNumQueries
):
    token = token_of(user)
    for _ in range(20):
        token_of(user)
    ask(client, f"Bearer {token}")  # which notes that it is used

    with django_assert_num_queries(2):  # the token, the projects
        assert ask(client, f"Bearer {token}").status_code == 200


def test_without_credentials_is_401(client: Client):
    assert_refused(ask(client, None), "not_authenticated")


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer th_" + "0" * 64,
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 5000,
        "Basic",
        "Basic !!!",
        "Basic \xff",
        basic("x", "wrong"),
        basic("x", "nul\x00"),
        basic("x", b"\xff\xfe"),
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Token th_x",
        "Negotiate abc",
    ],
)
def test_wrong_credentials_are_401(client: Client, user: User, authorization: str):
    token_of(user)

    assert_refused(ask(client, authorization), "authentication_failed")


def test_stored_digest_is_not_a_valid_token(client: Client, user: User):
    stored, _token = Token.issue(user)

    assert_refused(ask(client, f"Bearer {stored.digest}"), "authentication_failed")


def test_expired_token_is_401(client: Client, user: User):
    token = token_of(user, life=timedelta(days=1))
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert_refused(ask(client, f"Bearer {token}"), "authentication_failed")


def test_token_before_its_expiry_works(client: Client, user: User):
    assert ask(client, f"Bearer {token_of(user, life=timedelta(minutes=1))}").status_code == 200


def test_inactive_users_token_is_401(client: Client, user: User):
    token = token_of(user)
    User.objects.update(is_active=False)

    assert_refused(ask(client, f"Bearer {token}"), "authentication_failed")


def test_deleted_token_is_401(client: Client, user: User):
    token = token_of(user)
    Token.objects.all().delete()

    assert_refused(ask(client, f"Bearer {token}"), "authentication_failed")


def test_wrong_token_is_401_despite_a_valid_session(client: Client, user: User):
    client.force_login(user)

    assert_refused(ask(client, "Bearer th_wrong"), "authentication_failed")


def test_token_needs_no_csrf_token(user: User):
    client = Client(enforce_csrf_checks=True)

    response = client.post(
        "/projects",
        {"name": "x"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token_of(user)}"},
    )

    assert response.status_code == 201


def test_basic_password_in_a_cross_origin_request_is_refused(client: Client, user: User):
    response = client.post(
        "/projects",
        {"name": "x"},
        content_type="application/json",
        headers={"Authorization": basic("x", token_of(user)), "Origin": "https://evil.example"},
    )

    assert response.status_code == 403
    assert not Project.objects.exists()


def test_token_error_is_in_the_requested_language(client: Client):
    english = ask(client, "Bearer wrong", HTTP_ACCEPT_LANGUAGE="en").json()

    assert english["errors"][0]["detail"] == "The token is not valid."


# --- manage.py create_token ------------------------------------------------------------------


def create_token(*arguments: str) -> str:
    output = StringIO()
    call_command("create_token", *arguments, stdout=output)
    return output.getvalue()


def test_created_token_works_and_is_the_only_output(client: Client, user: User):
    output = create_token("xiaoli")

    assert output.endswith("\n")
    assert output.startswith("th_")
    assert output.count("\n") == 1
    assert ask(client, f"Bearer {output.strip()}").status_code == 200


def test_created_token_is_not_stored(user: User):
    token = create_token("xiaoli").strip()

    stored = Token.objects.get()
    assert token not in (stored.digest, stored.beginning)
    assert len(stored.beginning) < len(token) / 2


def test_created_token_does_not_expire_by_default(user: User):
    create_token("xiaoli")

    assert Token.objects.get().expires_at is None


def test_created_token_expires_after_days(user: User):
    create_token("xiaoli", "--days", "30")

    life = Token.objects.get().expires_at - timezone.now()
    assert timedelta(days=29, hours=23) < life <= timedelta(days=30)


@pytest.mark.parametrize("days", ["0", "-1", "1000000000"])
def test_days_out_of_range_are_refused(user: User, days: str):
    with pytest.raises(CommandError, match="--days must be 1 to 36500"):
        create_token("xiaoli", f"--days={days}")


def test_token_for_an_unknown_user_is_refused():
    with pytest.raises(CommandError, match="There is no user nobody"):
        create_token("nobody")


def test_token_for_an_inactive_user_is_refused(user: User):
    User.objects.update(is_active=False)

    with pytest.raises(CommandError, match="xiaoli is not active"):
        create_token("xiaoli")


# --- manage.py revoke_token ------------------------------------------------------------------


def revoke_token(*arguments: str) -> str:
    output = StringIO()
    call_command("revoke_token", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.parametrize("by", ["id", "whole token", "beginning"])
def test_token_is_revoked_by_what_is_known_of_it(client: Client, user: User, by: str):
    token, secret = Token.issue(user)
    kept = token_of(user)
    known = {"id": token.pk, "whole token": secret, "beginning": token.beginning}

    assert "1" in revoke_token(known[by])

    assert_refused(ask(client, f"Bearer {secret}"), "authentication_failed")
    assert ask(client, f"Bearer {kept}").status_code == 200


def test_all_tokens_of_a_user_are_revoked(client: Client, user: User):
    mine = [token_of(user), token_of(user)]
    others = token_of(UserFactory())

    assert "2" in revoke_token("--user", "xiaoli")

    assert [ask(client, f"Bearer {secret}").status_code for secret in mine] == [401, 401]
    assert ask(client, f"Bearer {others}").status_code == 200


@pytest.mark.parametrize("arguments", [["token_000000000000"], ["th_"], ["--user", "nobody"]])
def test_unknown_token_is_an_error(user: User, arguments: list[str]):
    kept = token_of(user)

    with pytest.raises(CommandError):
        revoke_token(*arguments)

    assert Token.objects.get().beginning == kept[:15]
