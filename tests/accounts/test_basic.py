"""Passwords in HTTP Basic, as MLflow's clients send them."""

import base64

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.test import Client

from accounts.roles import Role
from accounts.sign_in.limits import ACCOUNT, ACCOUNT_AND_ADDRESS
from tests.accounts.guessing import pass_time
from tests.clients import ApiClient
from tests.factories import RunFactory, UserFactory

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


@pytest.fixture
def user() -> User:
    user = UserFactory(username="li")
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def fast_hashes(settings, user: User) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user.set_password(PASSWORD)
    user.save()


def ask(password: str, name: str = "li", path: str = "/projects", address: str = "203.0.113.7"):
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}"}
    return Client().get(path, headers=headers, REMOTE_ADDR=address)


def test_password_of_a_user_signs_in(user):
    run = RunFactory()
    run.project.roles.create(user=user, role=Role.VIEWER)

    assert ask(PASSWORD, path=f"/api/2.0/mlflow/runs/get?run_id={run.pk}").status_code == 200


@pytest.mark.parametrize("password", ["wrong", "", "\x00"])
def test_wrong_password_is_401(user, password):
    assert ask(password).status_code == 401


def test_name_of_nobody_is_401(user):
    assert ask(PASSWORD, name="nobody").status_code == 401
    assert ask(PASSWORD, name="l\x00i").status_code == 401


def test_right_password_is_hashed_once(user, monkeypatch):
    ask(PASSWORD)

    def fail(*args, **kwargs):
        raise AssertionError("hashed again")

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", fail)
    monkeypatch.setattr("django.contrib.auth.hashers.check_password", fail)
    monkeypatch.setattr("django.contrib.auth.base_user.check_password", fail)

    assert ask(PASSWORD).status_code == 200


def test_changed_password_is_not_remembered(user):
    ask(PASSWORD)
    user.set_password("another one")
    user.save()

    assert ask(PASSWORD).status_code == 401


def test_user_who_is_not_active_is_401(user):
    ask(PASSWORD)
    User.objects.update(is_active=False)

    assert ask(PASSWORD).status_code == 401


@pytest.mark.parametrize(
    "path", ["/projects", "/api/2.0/mlflow/experiments/search", "/mcp", "/docs"]
)
def test_guesser_is_refused_with_the_time_to_wait(user, path):
    answers = [ask(f"guess {number}", path=path) for number in range(8)]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_guess_at_a_frequent_address_counts_once(user):
    credentials = base64.b64encode(b"li:wrong").decode()
    client = ApiClient(headers={"Authorization": f"Basic {credentials}"})

    codes = [
        client.get("/projects/proj_x/runs/run_x").status_code
        for _ in range(ACCOUNT_AND_ADDRESS.burst + 1)
    ]

    assert codes == [401] * ACCOUNT_AND_ADDRESS.burst + [429]


def test_guesser_is_not_told_that_a_guess_is_the_remembered_password(user, fast_hashes):
    ask(PASSWORD, address="198.51.100.1")
    guesses = [f"guess {number}" for number in range(ACCOUNT_AND_ADDRESS.burst)]

    codes = [ask(password).status_code for password in [*guesses, PASSWORD]]

    assert codes == [401] * ACCOUNT_AND_ADDRESS.burst + [429]
    pass_time(ACCOUNT_AND_ADDRESS.seconds)
    assert ask(PASSWORD).status_code == 200


def test_guessers_elsewhere_do_not_lock_a_client_out(user, fast_hashes):
    ask(PASSWORD, address="198.51.100.1")
    for number in range(ACCOUNT.burst + 1):
        ask("wrong", address=f"203.0.113.{number}")

    assert ask(PASSWORD, address="192.0.2.9").status_code == 429
    assert ask(PASSWORD, address="198.51.100.1").status_code == 200
