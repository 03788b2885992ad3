"""Guessers at a real web server, with passwords that are hashed as in production."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.contrib.auth.models import User

from accounts.sign_in.limits import ACCOUNT_AND_ADDRESS
from tests.accounts.guessing import PASSWORD
from tests.web_server import WebServer, collect_static_files, web_server

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]

GUESSES, GUESSERS, PAGES = 40, 16, 10
HOME, ELSEWHERE = "198.51.100.1", "203.0.113.9"


@pytest.fixture
def server(settings) -> Iterator[WebServer]:
    """Behind a proxy on this machine, which tells in X-Forwarded-For who the client is."""
    settings.PASSWORD_HASHERS = ["accounts.sign_in.hashing.PatientPBKDF2PasswordHasher"]
    User.objects.create_user("xiaoli", password=PASSWORD)
    collect_static_files()
    with web_server(TRAINHUB_OPEN_MODE="false", TRAINHUB_TRUSTED_PROXIES="127.0.0.1") as running:
        yield running


def browser(server: WebServer, address: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"X-Forwarded-For": address}, timeout=60)


def sign_in(client: httpx.Client, password: str, **headers: str) -> int:
    if "csrftoken" not in client.cookies:
        page = client.get("/login")
        assert page.status_code == 200, page.text
    form = {
        "csrfmiddlewaretoken": client.cookies["csrftoken"],
        "username": "xiaoli",
        "password": password,
    }
    return client.post("/login", data=form, headers=headers).status_code


def test_of_40_wrong_passwords_at_once_few_are_hashed_and_a_member_is_served(server: WebServer):
    with browser(server, ELSEWHERE) as client:
        client.get("/login")
        token = client.cookies["csrftoken"]
    numbers, codes = iter(range(GUESSES)), Counter[int]()
    lock = threading.Lock()

    def guess(_guesser: int) -> None:
        with browser(server, ELSEWHERE) as client:
            # A guesser reads the form once. Of the server's domain, so that its own replaces it.
            client.cookies.set("csrftoken", token, domain=client.base_url.host)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                code = sign_in(client, f"guess {number}")
                with lock:
                    codes[code] += 1

    with browser(server, HOME) as member, ThreadPoolExecutor(GUESSERS) as pool:
        assert sign_in(member, PASSWORD) == 302
        guessing = [pool.submit(guess, number) for number in range(GUESSERS)]
        pages = [member.get("/dashboard").status_code for _ in range(PAGES)]
        for each in guessing:
            each.result()

    # Fewer are checked where too many wait for their turn at once.
    assert 1 <= codes[200] <= ACCOUNT_AND_ADDRESS.burst
    assert codes == {200: codes[200], 429: GUESSES - codes[200]}
    assert set(pages) == {200}


def test_what_a_guesser_writes_into_the_proxys_header_is_not_believed(server: WebServer):
    codes = []
    with browser(server, ELSEWHERE) as client:
        for number in range(ACCOUNT_AND_ADDRESS.burst + 1):
            forged = {"X-Forwarded-For": f"192.0.2.{number}, 127.0.0.1, {ELSEWHERE}"}
            codes.append(sign_in(client, "wrong", **forged))

    assert codes == [200] * ACCOUNT_AND_ADDRESS.burst + [429]
    with browser(server, HOME) as member:
        assert sign_in(member, PASSWORD) == 302


def test_refusal_is_a_page_in_the_readers_language(server: WebServer):
    with browser(server, ELSEWHERE) as client:
        for _ in range(ACCOUNT_AND_ADDRESS.burst):
            sign_in(client, "wrong")
        client.get("/login")
        form = {
            "csrfmiddlewaretoken": client.cookies["csrftoken"],
            "username": "xiaoli",
            "password": "wrong",
        }
        page = client.post("/login", data=form, headers={"Accept-Language": "en"})

    assert page.status_code == 429
    assert int(page.headers["Retry-After"]) <= ACCOUNT_AND_ADDRESS.seconds
    assert re.search("Try again in 1 minute", page.text)
