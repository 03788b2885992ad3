"""Sign-ins become entries: those that succeed, and those that are refused."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from audit.models import Entry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


@pytest.fixture
def user() -> User:
    return User.objects.create_user("xiaoli", password="correct-horse")


def sign_in(name: str, password: str) -> None:
    Client(REMOTE_ADDR="203.0.113.7").post("/login", {"username": name, "password": password})


def entry() -> Entry:
    return Entry.objects.get(kind="session")


def test_sign_in_is_told_with_its_address(user):
    sign_in("xiaoli", "correct-horse")

    assert (entry().action, entry().actor_id, entry().address) == (
        "session.signed_in",
        user.pk,
        "203.0.113.7",
    )


def test_wrong_password_is_told_as_tried_not_as_done_by_the_user(user):
    sign_in("xiaoli", "wrong-horse")

    assert (entry().action, entry().name, entry().actor) == ("session.refused", "xiaoli", "")


def test_name_of_no_account_is_not_kept(user):
    sign_in("correct-horse", "x")

    assert (entry().action, entry().name, entry().subject_id) == ("session.refused", "", "")


def test_sign_out_is_told(user):
    client = Client()
    client.force_login(user)

    client.post("/logout")

    assert Entry.objects.filter(action="session.signed_out", actor="xiaoli").exists()
