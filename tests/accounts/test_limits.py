"""Wrong passwords are limited by account and address, before they are hashed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client, RequestFactory
from pytest_django import Settings

from accounts.sign_in.allowances import Allowance
from accounts.sign_in.limits import (
    ACCOUNT,
    ACCOUNT_AND_ADDRESS,
    ADDRESS,
    TooManyAttempts,
    address_of,
)
from tests.accounts.guessing import PASSWORD, guess, pass_time

pytestmark = pytest.mark.django_db

HOME, ELSEWHERE = "198.51.100.1", "203.0.113.7"


@pytest.fixture(autouse=True)
def require_sign_in(settings: Settings) -> None:
    settings.OPEN_MODE = False
    # Fast, unlike those in use: what counts is whether they are asked at all.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def member() -> User:
    return User.objects.create_user("xiaoli", password=PASSWORD)


def test_refused_sign_in_says_when_to_try_again(member: User):
    answers = [guess("xiaoli") for _ in range(ACCOUNT_AND_ADDRESS.burst + 1)]

    assert [answer.status_code for answer in answers] == [200] * ACCOUNT_AND_ADDRESS.burst + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= ACCOUNT_AND_ADDRESS.seconds
    assert "Too many wrong passwords. Try again in 1 minute." in answers[-1].content.decode()


def test_right_password_is_refused_too_until_the_time_has_passed(member: User):
    for _ in range(ACCOUNT_AND_ADDRESS.burst):
        guess("xiaoli")

    assert guess("xiaoli", PASSWORD).status_code == 429
    pass_time(ACCOUNT_AND_ADDRESS.seconds)
    assert guess("xiaoli", PASSWORD).status_code == 302


def test_name_of_no_account_is_refused_alike():
    answers = [guess("nobody") for _ in range(ACCOUNT_AND_ADDRESS.burst + 1)]

    assert [answer.status_code for answer in answers] == [200] * ACCOUNT_AND_ADDRESS.burst + [429]


def test_other_spelling_of_a_name_is_no_other_account(member: User):
    for _ in range(ACCOUNT_AND_ADDRESS.burst):
        guess("xiaoli")

    assert guess("XiaoLi").status_code == 429


def test_right_passwords_are_not_counted(member: User):
    answers = [guess("xiaoli", PASSWORD) for _ in range(3 * ACCOUNT_AND_ADDRESS.burst)]

    assert {answer.status_code for answer in answers} == {302}


def test_sign_in_of_the_admin_counts_to_the_same_limit(client: Client, member: User):
    for _ in range(ACCOUNT_AND_ADDRESS.burst):
        guess("xiaoli")

    form = {"username": "xiaoli", "password": PASSWORD}
    response = client.post("/admin/login/", form, REMOTE_ADDR=ELSEWHERE)

    assert response.status_code == 429
    assert "Retry-After" in response.headers


def test_old_password_cannot_be_guessed_in_an_open_browser(client: Client, member: User):
    client.force_login(member)
    form = {"old_password": "wrong", "new_password1": "a", "new_password2": "a"}

    answers = [client.post("/login/password", form) for _ in range(ACCOUNT_AND_ADDRESS.burst + 1)]

    assert [answer.status_code for answer in answers] == [200] * ACCOUNT_AND_ADDRESS.burst + [429]


def test_whatever_asks_django_for_a_user_is_limited(member: User):
    request = RequestFactory().get("/", REMOTE_ADDR=ELSEWHERE)
    for _ in range(ACCOUNT_AND_ADDRESS.burst):
        authenticate(request, username="xiaoli", password="wrong")

    with pytest.raises(TooManyAttempts):
        authenticate(request, username="xiaoli", password=PASSWORD)


# --- addresses -------------------------------------------------------------------------------


def test_address_that_tries_many_accounts_is_refused():
    answers = [guess(f"name-{number}") for number in range(ADDRESS.burst + 1)]

    assert [answer.status_code for answer in answers] == [200] * ADDRESS.burst + [429]


def test_guesses_from_many_addresses_at_one_account_are_refused(member: User):
    answers = [
        guess("xiaoli", address=f"203.0.113.{number}") for number in range(ACCOUNT.burst + 1)
    ]

    assert [answer.status_code for answer in answers] == [200] * ACCOUNT.burst + [429]


def test_guessers_elsewhere_do_not_lock_a_member_out(member: User):
    guess("xiaoli", PASSWORD, HOME)
    for number in range(ACCOUNT.burst + 1):
        guess("xiaoli", address=f"203.0.113.{number}")

    assert guess("xiaoli", PASSWORD, "192.0.2.9").status_code == 429
    assert guess("xiaoli", PASSWORD, HOME).status_code == 302


def test_guesser_in_the_same_office_locks_no_colleague_out(member: User):
    guess("xiaoli", PASSWORD, HOME)
    for number in range(ADDRESS.burst + 1):
        guess(f"name-{number}", address=HOME)

    assert guess("xiaoli", PASSWORD, HOME).status_code == 302


def test_refused_guesses_lock_nobody_else(member: User):
    for _ in range(ADDRESS.burst + ACCOUNT_AND_ADDRESS.burst):
        guess("xiaoli")

    assert guess("another").status_code == 200


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_addresses_of_one_customer_are_one(peer: str, address: str):
    assert address_of(RequestFactory().get("/", REMOTE_ADDR=peer)) == address


# --- cost ------------------------------------------------------------------------------------


def test_refused_guesses_are_neither_hashed_nor_stored(
    member: User, settings: Settings, django_assert_num_queries
):
    for _ in range(ACCOUNT_AND_ADDRESS.burst):
        guess("xiaoli")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]

    with patch.object(PBKDF2PasswordHasher, "encode") as encode, django_assert_num_queries(1):
        answers = [guess("xiaoli") for _ in range(1)]

    assert [answer.status_code for answer in answers] == [429]
    assert not encode.called


def test_rows_that_say_nothing_any_more_are_deleted():
    guess("one")
    pass_time(ACCOUNT.seconds)

    guess("another", address="192.0.2.9")

    assert Allowance.objects.count() == 3  # of the last guess: address, both, account


def test_no_name_is_stored():
    guess("my-secret-password-typed-into-the-wrong-field")

    assert all(len(key) == 64 for key in Allowance.objects.values_list("key", flat=True))


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_guesses_at_the_same_time_do_not_pass_together(settings: Settings):
    User.objects.create_user("xiaoli", password=PASSWORD)
    start = threading.Barrier(16)

    def one_guess(_number: int) -> int:
        try:
            start.wait()
            return guess("xiaoli").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(one_guess, range(16)))

    assert codes.count(200) == ACCOUNT_AND_ADDRESS.burst
    assert codes.count(429) == 16 - ACCOUNT_AND_ADDRESS.burst
