"""Passwords are hashed one at a time, and without taking the time of requests."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.utils import timezone

from accounts.sign_in import hashing
from accounts.sign_in.allowances import Allowance
from accounts.sign_in.hashing import PatientPBKDF2PasswordHasher
from accounts.sign_in.limits import TooManyAtOnce
from tests.accounts.guessing import PASSWORD, guess
from tests.waiting import wait_until

PLACES = 4  # half of WEB_THREADS


class HeldHashing:
    """In place of Django's hasher: waits to be let go and keeps what it was called with."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.active, self.most_active, self.niceness = 0, 0, set[int]()

    def __call__(self, password: str, salt: str, iterations: int | None = None) -> str:
        self.active += 1
        self.most_active = max(self.active, self.most_active)
        self.niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        assert self.go.wait(30)
        self.active -= 1
        return "pbkdf2_sha256$1$salt$hash"


@pytest.fixture
def held():
    hashing_held = HeldHashing()
    with (
        patch.object(PBKDF2PasswordHasher, "encode", side_effect=hashing_held),
        ThreadPoolExecutor(PLACES) as pool,
    ):
        waiting = [
            pool.submit(PatientPBKDF2PasswordHasher().encode, "password", "salt")
            for _ in range(PLACES)
        ]
        wait_until(lambda: hashing._turns._value == 0 and hashing_held.active)
        yield hashing_held
        hashing_held.go.set()
        for each in waiting:
            each.result(30)


def test_passwords_are_hashed_one_at_a_time(held: HeldHashing):
    held.go.set()
    wait_until(lambda: hashing._turns._value == PLACES)

    assert held.most_active == 1


def test_thread_that_hashes_yields_to_requests(held: HeldHashing):
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert held.niceness == {own + hashing.NICENESS}


def test_more_than_half_of_the_threads_do_not_wait(held: HeldHashing):
    with pytest.raises(TooManyAtOnce):
        PatientPBKDF2PasswordHasher().encode("password", "salt")


@pytest.mark.django_db
def test_attempt_that_found_no_turn_is_refused_and_not_counted(held: HeldHashing, settings):
    settings.PASSWORD_HASHERS = ["accounts.sign_in.hashing.PatientPBKDF2PasswordHasher"]

    answer = guess("xiaoli")

    assert (answer.status_code, answer["Retry-After"]) == (429, "3")
    assert "Too many people sign in at once" in answer.text
    assert not Allowance.objects.filter(used_until__gt=timezone.now()).exists()


@pytest.mark.django_db
def test_hashes_are_djangos_own(settings):
    settings.PASSWORD_HASHERS = ["accounts.sign_in.hashing.PatientPBKDF2PasswordHasher"]
    user = User.objects.create_user("xiaoli", password=PASSWORD)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]

    assert user.check_password(PASSWORD)
    assert not user.check_password("wrong")
