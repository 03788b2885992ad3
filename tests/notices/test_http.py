"""Where webhooks may lead, and what of an answer is believed."""

import socket
import threading

import pytest

from core.exceptions import InvalidInput
from notices import http
from notices.http import Failed, check_url, post
from tests.notices.receiver import receiver


@pytest.fixture
def private(settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org",
        "https://",
        "https://user:password@example.org",
        "https://example.org/a b",
        "https://example.org:99999",
        "https://example.org/\r\nX: 1",
        "https://example.org/token\x7f",
        "https://[::1",
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidInput):
        check_url(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[64:ff9b:1::7f00:1]",
        "[::7f00:1]",
        "[::ffff:0:7f00:1]",
        "[fec0::1]",
        "2130706433",
        "0x7f.1",
    ],
)
def test_own_network_is_not_reached(host):
    with pytest.raises(Failed, match="not allowed"):
        post(f"http://{host}:1/", b"", {})


def test_connection_goes_to_the_address_that_was_checked(settings, monkeypatch):
    """A name whose second answer is loopback (DNS rebinding)."""
    answers = iter(["198.51.100.1", "127.0.0.1"])
    connected = []
    monkeypatch.setattr(http, "_is_public", lambda address: not address.startswith("127."))
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, **_options: [(2, 1, 6, "", (next(answers), port))],
    )

    def refuse(address, timeout):
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)

    with pytest.raises(Failed):
        post("http://rebinding.example.org/", b"", {})

    assert connected == ["198.51.100.1"]


def test_name_with_one_private_address_of_two_is_refused(monkeypatch):
    found = [(2, 1, 6, "", ("93.184.216.34", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)

    with pytest.raises(Failed, match="not allowed") as failed:
        post("http://example.org/", b"", {})

    assert "10.0.0.1" not in str(failed.value)


def test_redirect_is_not_followed(private):
    with receiver() as (it, url):
        it.answer = (302, {"Location": f"{url}/elsewhere"}, b"")

        answer = post(f"{url}/hook?a=1", b"{}", {"webhook-id": "msg_1"})

    assert (answer.status, answer.is_success) == (302, False)
    assert [received.path for received in it.received] == ["/hook?a=1"]


def test_address_without_a_path_has_its_query(private):
    with receiver() as (it, url):
        post(f"{url}?key=1", b"{}", {})

    assert [received.path for received in it.received] == ["/?key=1"]


def test_answer_that_repeats_the_address_is_kept_without_it(private):
    with receiver() as (it, url):
        it.answer = (404, {}, b"Cannot POST /services/T0/B0/XXX?access_token=0123456789&amp;a=1")

        answer = post(f"{url}/services/T0/B0/XXX?access_token=0123456789&a=1", b"{}", {})

    assert answer.text == "Cannot POST /…?access_token=…&amp;a=1"


def test_of_an_answer_only_the_beginning_is_kept(private):
    with receiver() as (it, url):
        it.answer = (200, {}, b"a" * 100_000 + b"\x00")

        assert len(post(url, b"{}", {}).text) == http.MAX_ANSWER


def test_receiver_that_never_ends_its_answer_is_cut_off(private, monkeypatch):
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.3)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            connection, _address = server.accept()
            with connection:
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        try:
            with pytest.raises(Failed):
                post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"", {})
        finally:
            stop.set()
            thread.join()
