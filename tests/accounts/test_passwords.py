"""Changing a password, and resetting one by e-mail."""

import re

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import translation
from pytest_django import Settings

from accounts.sign_in.limits import RESETS_OF_ADDRESS, RESETS_OF_EMAIL
from tests.accounts.guessing import PASSWORD
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

NEW = "staple battery horse"
ENGLISH = {"Accept-Language": "en"}


@pytest.fixture(autouse=True)
def with_mail(settings: Settings) -> None:
    settings.OPEN_MODE = False
    settings.EMAIL_CONFIGURED = True
    settings.PUBLIC_URL = "https://trainhub.example.org/"


@pytest.fixture
def member() -> User:
    return User.objects.create_user("xiaoli", "xiaoli@example.org", PASSWORD)


def ask(client: Client, email: str = "xiaoli@example.org", **extra):
    return client.post("/login/reset", {"email": email}, headers=ENGLISH, **extra)


def link_of(message: mail.EmailMessage) -> str:
    """The path of the link in a mail."""
    [link] = re.findall(r"https://trainhub\.example\.org(/\S+)", message.body)
    return link


def test_member_changes_the_password_and_stays_signed_in(client: Client, member: User):
    client.force_login(member)
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}

    response = client.post("/login/password", form)

    assert response.headers["Location"] == "/dashboard"
    assert client.get("/projects").status_code == 200
    member.refresh_from_db()
    assert member.check_password(NEW)


def test_other_sessions_end_when_the_password_changes(client: Client, member: User):
    other = Client()
    other.force_login(member)
    client.force_login(member)

    client.post(
        "/login/password", {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    )

    assert other.get("/projects").status_code == 401


def test_weak_password_is_refused(client: Client, member: User):
    client.force_login(member)
    form = {"old_password": PASSWORD, "new_password1": "12345", "new_password2": "12345"}

    response = client.post("/login/password", form)

    assert response.status_code == 200
    assert response.context["form"].errors["new_password2"]


def test_page_of_the_admin_for_it_leads_there(client: Client, member: User):
    client.force_login(member)

    assert client.get(reverse("admin:password_change")).headers["Location"] == "/login/password"


def test_link_of_the_mail_sets_a_password_and_signs_in(client: Client, member: User):
    ask(client)
    wait_until(lambda: mail.outbox)

    page = client.get(link_of(mail.outbox[0]), follow=True)
    form = {"new_password1": NEW, "new_password2": NEW}
    response = client.post(page.request["PATH_INFO"], form)

    assert response.headers["Location"] == "/dashboard"
    assert client.get("/projects").status_code == 200
    member.refresh_from_db()
    assert member.check_password(NEW)


def test_link_works_once(client: Client, member: User):
    ask(client)
    wait_until(lambda: mail.outbox)
    link = link_of(mail.outbox[0])
    page = client.get(link, follow=True)
    client.post(page.request["PATH_INFO"], {"new_password1": NEW, "new_password2": NEW})

    response = Client().get(link, headers=ENGLISH)

    assert "This link has been used already" in response.content.decode()


def test_link_leads_to_the_configured_address_whatever_the_request_says(
    client: Client, member: User
):
    ask(client, SERVER_NAME="127.0.0.1")
    wait_until(lambda: mail.outbox)

    assert link_of(mail.outbox[0])
    assert "127.0.0.1" not in mail.outbox[0].body


def test_mail_is_in_the_language_of_whoever_asked(client: Client, member: User):
    ask(client)
    wait_until(lambda: mail.outbox)

    assert mail.outbox[0].subject == "TrainHub: a new password for xiaoli"
    with translation.override("en"):
        assert "Choose it here." in mail.outbox[0].body


def test_answer_does_not_tell_whether_there_is_an_account(client: Client, member: User):
    known, unknown = ask(client), ask(client, "nobody@example.org")

    assert known.headers["Location"] == unknown.headers["Location"] == "/login/reset/sent"
    assert known.content == unknown.content


def test_account_without_a_password_gets_no_mail(client: Client, member: User):
    member.set_unusable_password()
    member.save()

    ask(client)
    User.objects.create_user("last", "last@example.org", PASSWORD)
    ask(client, "last@example.org")

    wait_until(lambda: mail.outbox)
    assert [message.to for message in mail.outbox] == [["last@example.org"]]


def test_one_address_is_sent_few_mails(client: Client, member: User):
    answers = [ask(client) for _ in range(RESETS_OF_EMAIL.burst + 2)]

    wait_until(lambda: len(mail.outbox) >= RESETS_OF_EMAIL.burst)
    assert len(mail.outbox) == RESETS_OF_EMAIL.burst
    assert {answer.status_code for answer in answers} == {302}


def test_client_that_asks_for_many_is_refused(client: Client):
    answers = [
        ask(client, f"name-{number}@example.org") for number in range(RESETS_OF_ADDRESS.burst + 1)
    ]

    assert answers[-1].status_code == 429
    assert "Too many requests." in answers[-1].content.decode()


def test_without_a_mail_server_the_page_says_who_helps(client: Client, settings: Settings):
    settings.EMAIL_CONFIGURED = False
    settings.CONTACT = "#trainhub-help"

    page = client.get("/login/reset", headers=ENGLISH).content.decode()

    assert "This server sends no e-mail" in page
    assert "#trainhub-help" in page
    assert 'name="email"' not in page


def test_without_a_mail_server_nothing_pretends_to_be_sent(
    client: Client, settings: Settings, member: User
):
    settings.EMAIL_CONFIGURED = False

    response = ask(client)

    assert response.status_code == 200
    assert "This server sends no e-mail" in response.content.decode()
    assert "changepassword" in response.content.decode()
    assert mail.outbox == []


def test_admin_in_open_mode_says_how_to_get_its_password_again(client: Client, settings: Settings):
    settings.OPEN_MODE = True

    page = client.get("/admin/login/", headers=ENGLISH).content.decode()

    assert "manage.py changepassword admin" in page
