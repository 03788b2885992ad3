"""What nginx keeps from the web server's threads, and what it answers by itself."""

import gzip
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from django.conf import settings

from tests.trainhub.front.conftest import Front
from tests.up_process import wait_until

pytestmark = [pytest.mark.xdist_group("front"), pytest.mark.usefixtures("english")]

UPLOAD = "/projects/proj_1/runs/run_1/artifacts/files/model.bin"
SEARCH = "/projects/proj_1/runs/run_1/logs?q=slow"


@contextmanager
def waiting(front: Front, paths: list[str], **headers: str) -> Iterator[list[int]]:
    """Requests to a backend that answers at the end; yields the list of their statuses."""
    front.backend.go_on.clear()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda path=path: statuses.append(front.get(path, **headers)[0]))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    wait_until(
        lambda: len(front.backend.requests) + len(statuses) >= len(paths), 10, "all have arrived"
    )
    try:
        yield statuses
    finally:
        front.backend.go_on.set()
        for thread in threads:
            thread.join()


@contextmanager
def unfinished_bodies(front: Front, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have sent a header and a byte of a body."""
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", front.port))
        connection.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        connections.append(connection)
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


# --- Bodies ----------------------------------------------------------------------------------


def test_request_without_its_whole_body_does_not_reach_the_web_server(front: Front):
    with unfinished_bodies(front, 50):
        assert front.get("/bystander")[0] == 200

        assert front.backend.paths() == ["/bystander"]


def test_request_reaches_the_web_server_when_its_body_is_whole(front: Front):
    with unfinished_bodies(front, 1) as [connection]:
        connection.sendall(b"}" * 8)

        assert connection.recv(12) == b"HTTP/1.1 200"
    assert front.backend.requests[-1][3] == b"{" + b"}" * 8


@pytest.mark.parametrize("language", ["en", "zh-CN,zh;q=0.9", "fr"])
@pytest.mark.parametrize("path", ["/projects", "/api/2.0/mlflow/runs/create"])
def test_body_of_a_hundred_megabytes_is_refused_readably(front: Front, path: str, language: str):
    body = b" " * 100_000_000

    status, headers, answer = front.call("POST", path, body, Accept_Language=language)

    assert (status, headers["Content-Type"]) == (413, "application/json")
    content = json.loads(answer)
    detail = content["message"] if path.startswith("/api/") else content["errors"][0]["detail"]
    assert str(settings.MAX_JSON_BYTES) in detail
    assert ("larger" in detail) == (language == "en")
    assert front.backend.requests == []


def test_form_that_is_too_large_gets_a_page(front: Front):
    body = b" " * 10_000_000

    status, headers, answer = front.call("POST", "/dashboard/projects", body, Accept_Language="en")

    assert (status, headers["Content-Type"]) == (413, "text/html; charset=utf-8")
    assert "larger than" in answer.decode()


def test_upload_may_be_larger(front: Front):
    body = os.urandom(8_000_000)

    assert front.call("PUT", UPLOAD, body)[0] == 200

    assert front.backend.requests[-1][3] == body


@pytest.mark.parametrize(("answer", "status"), [(401, 401), (403, 403)])
def test_upload_without_credentials_is_refused_before_its_body(
    front: Front, answer: int, status: int
):
    front.backend.signed_in = answer
    with socket.create_connection(("127.0.0.1", front.port)) as connection:
        header = f"PUT {UPLOAD} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
        connection.sendall(header.encode())

        assert connection.recv(12) == f"HTTP/1.1 {status}".encode()
    assert front.backend.paths() == ["/signed-in"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_only_uploads_may_have_a_large_body(front: Front, method: str):
    with socket.create_connection(("127.0.0.1", front.port)) as connection:
        header = f"{method} {UPLOAD} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
        connection.sendall(header.encode())

        assert connection.recv(12) == b"HTTP/1.1 413"
    assert front.backend.paths() == []


def test_upload_while_nobody_can_check_credentials_is_to_be_tried_again(front: Front):
    front.backend.signed_in = 503

    status, headers, answer = front.call("PUT", UPLOAD, b"x", Accept_Language="en")

    assert (status, headers["Retry-After"]) == (503, "3")
    assert json.loads(answer)["errors"][0]["code"] == "unavailable"


@pytest.mark.parametrize("path", [UPLOAD, "/projects"])
def test_body_that_the_disk_has_no_place_for_is_told_so(front: Front, path: str):
    bodies = front.places.directory / "bodies"
    bodies.rename(bodies.with_name("moved"))  # nginx can create no file
    try:
        status, headers, answer = front.call("PUT", path, b"x" * 1_000_000)
    finally:
        bodies.with_name("moved").rename(bodies)

    assert (status, headers["Retry-After"]) == (507, "30")
    assert json.loads(answer)["errors"][0]["code"] == "storage_full"


def test_credentials_are_asked_for_with_the_callers_headers(front: Front):
    front.call("PUT", UPLOAD, b"x", Authorization="Bearer th_1", Host="hub.example")

    method, path, headers, body = front.backend.requests[0]
    assert (method, path, body) == ("GET", "/signed-in", b"")
    assert (headers["Authorization"], headers["Host"]) == ("Bearer th_1", "hub.example")


def test_download_asks_for_no_credentials_in_advance(front: Front):
    path = f"{UPLOAD}%2F%E4%B8%AD?x=%00"

    front.get(path, Range="bytes=0-9")

    assert front.backend.paths() == [path]
    assert front.backend.requests[0][2]["Range"] == "bytes=0-9"


@pytest.mark.parametrize(
    "path", ["/signed-in", "/uploads", "/files", "/answers/503", "/invalid", "/failed"]
)
def test_internal_urls_are_not_found(front: Front, path: str):
    assert front.get(path)[0] == 404


# --- Requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/a%2Fb?x=%00", "/%E4%B8%AD%FF", "/a//b/./c", "/a;b=c'"])
def test_url_arrives_as_it_was_sent(front: Front, path: str):
    front.get(path)

    assert front.backend.paths() == [path]


def test_caller_cannot_choose_its_address(front: Front):
    front.get("/", X_Real_IP="8.8.8.8")

    assert front.backend.requests[0][2]["X-Real-IP"] == "127.0.0.1"


def test_url_with_nul_is_not_found(front: Front):
    status, _headers, answer = front.get("/projects/%00", Accept_Language="en")

    assert status == 404
    assert json.loads(answer)["errors"][0]["code"] == "not_found"


def test_invalid_url_is_a_bad_request(front: Front):
    assert front.get("/projects/%zz")[0] == 400


def test_headers_that_are_too_large_are_refused(front: Front):
    assert front.get("/", X_Long="x" * 100_000)[0] == 431


def test_content_type_stays_as_the_web_server_sent_it(front: Front):
    assert "charset" not in front.get("/text")[1]["Content-Type"]


def test_health_is_only_read(front: Front):
    assert front.call("POST", "/healthz", b"")[0] == 405


# --- A web server that hangs or has gone -----------------------------------------------------


def test_health_waits_for_no_request(front: Front):
    with waiting(front, ["/slow"] * 20):
        status, headers, body = front.get("/healthz")

    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"status": "ok"}


def test_read_that_a_dying_process_has_not_answered_is_repeated(front: Front):
    front.backend.breaks_off = 1

    assert front.get("/projects")[0] == 200


def test_write_that_a_dying_process_has_not_answered_is_not_repeated(front: Front):
    front.backend.breaks_off = 1

    status, headers, _body = front.call("POST", "/projects", b"{}")

    assert (status, headers["Retry-After"]) == (503, "3")
    assert front.backend.paths() == ["/projects"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/projects", '"code":"unavailable"'),
        ("/api/2.0/mlflow/runs/search", '"error_code":"TEMPORARILY_UNAVAILABLE"'),
        ("/dashboard", "<!DOCTYPE html>"),
    ],
)
def test_answer_without_a_web_server_has_the_form_of_the_url(front: Front, path: str, text: str):
    front.backend.breaks_off = 9

    status, _headers, body = front.get(path)

    assert status == 503
    assert text in body.decode()


@pytest.mark.parametrize(
    ("path", "directive"),
    [("/projects", "sandbox; default-src 'none'"), ("/dashboard", "script-src 'self';")],
)
def test_own_answer_has_the_policy_of_the_url(front: Front, path: str, directive: str):
    front.backend.breaks_off = 9

    _status, headers, _body = front.get(path)

    assert directive in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


# --- Ids of requests, and the access log -----------------------------------------------------


def test_request_gets_an_id_that_the_web_server_and_the_caller_see(front: Front):
    _status, headers, _body = front.get("/projects")

    _method, _path, received, _body = front.backend.requests[-1]
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])
    assert received["X-Request-Id"] == headers["X-Request-Id"]


def test_valid_id_of_the_caller_is_kept(front: Front):
    _status, headers, _body = front.get("/projects", X_Request_Id="build-7.attempt_2")

    assert headers["X-Request-Id"] == "build-7.attempt_2"


@pytest.mark.parametrize("given", ["two words", "x" * 65, 'quote"', "<script>", ""])
def test_other_id_of_the_caller_is_replaced(front: Front, given: str):
    _status, headers, _body = front.get("/projects", X_Request_Id=given)

    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/healthz", "/uploads"])
def test_own_answer_has_an_id_too(front: Front, path: str):
    assert front.get(path, X_Request_Id="mine")[1]["X-Request-Id"] == "mine"


# --- Searches of logs ------------------------------------------------------------------------


def test_caller_has_a_quarter_of_the_threads_for_searches(front: Front):
    allowed = settings.WEB_PROCESSES * settings.WEB_THREADS // 4

    with waiting(front, [SEARCH] * (allowed + 3)) as statuses:
        wait_until(lambda: len(statuses) == 3, 10, "three are refused")

        assert statuses == [429] * 3
        assert front.get(SEARCH)[1]["Retry-After"] == "3"


def test_other_caller_may_search_at_the_same_time(front: Front):
    allowed = settings.WEB_PROCESSES * settings.WEB_THREADS // 4

    with waiting(front, [SEARCH] * allowed, Authorization="Bearer th_1"):
        assert front.get(SEARCH, Authorization="Bearer th_1")[0] == 429
        with waiting(front, [SEARCH], Authorization="Bearer th_2") as statuses:
            front.backend.go_on.set()
    assert statuses == [200]


def test_token_does_not_become_another_caller_by_cookies(front: Front):
    allowed = settings.WEB_PROCESSES * settings.WEB_THREADS // 4

    with waiting(front, [SEARCH] * allowed, Authorization="Bearer th_1", Cookie="sessionid=1"):
        headers = {"Authorization": "Bearer th_1", "Cookie": "sessionid=2"}
        assert front.get(SEARCH, **headers)[0] == 429


@pytest.mark.parametrize("parameters", ["regex=a", "page=2&%71=a", "%72egex=a", "Q=a"])
def test_search_is_recognized_by_its_parameters(front: Front, parameters: str):
    allowed = settings.WEB_PROCESSES * settings.WEB_THREADS // 4

    with waiting(front, [SEARCH] * allowed):
        assert front.get(f"/dashboard/projects/p/runs/r/log?{parameters}")[0] == 429


@pytest.mark.parametrize("path", ["/projects/p/runs/r/logs?page=2", "/projects?q=a"])
def test_other_reads_are_not_limited(front: Front, path: str):
    allowed = settings.WEB_PROCESSES * settings.WEB_THREADS // 4

    with waiting(front, [path] * (allowed * 3)) as statuses:
        pass

    assert statuses == [200] * (allowed * 3)


def test_requests_of_agents_are_limited_with_searches(front: Front):
    allowed = settings.WEB_PROCESSES * settings.WEB_THREADS // 4

    with waiting(front, ["/mcp"] * allowed):
        assert front.get("/mcp")[0] == 429
        assert front.get(SEARCH)[0] == 429


# --- Compression -----------------------------------------------------------------------------

LONG = b'{"values": [' + b"0.25, " * 5000 + b"0]}"


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json", "text/html", "text/csv"),
        "text/plain; charset=utf-8",  # a log
        "text/markdown; charset=utf-8; variant=CommonMark",  # a model card
    ],
)
def test_long_text_is_compressed_for_those_who_take_it(front: Front, content_type: str):
    front.backend.content_type, front.backend.body = content_type, LONG

    _status, headers, body = front.get("/projects", Accept_Encoding="gzip")

    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == LONG
    assert len(body) < len(LONG) / 20


@pytest.mark.parametrize(
    ("path", "content_type", "body", "accepted"),
    [
        ("/projects", "application/json", LONG, "identity"),
        ("/projects", "application/json", b"{}", "gzip"),  # shorter than a packet
        ("/projects", "image/png", LONG, "gzip"),
        (UPLOAD, "application/json", LONG, "gzip"),  # a file: its length and ETag are exact
    ],
)
def test_others_are_sent_as_they_are(
    front: Front, path: str, content_type: str, body: bytes, accepted: str
):
    front.backend.content_type, front.backend.body = content_type, body

    _status, headers, received = front.get(path, Accept_Encoding=accepted)

    assert "Content-Encoding" not in headers
    assert received == body
    assert headers["ETag"] == '"of-the-body"'


# --- Its processes ---------------------------------------------------------------------------


def test_workers_are_not_forgotten_while_their_master_dies(
    front: Front, monkeypatch: pytest.MonkeyPatch
):
    workers = front.nginx.processes()[1:]

    # As it is for a moment before the master's end can be seen.
    monkeypatch.setattr(psutil.Process, "children", lambda *_arguments, **_named: [])

    assert workers
    assert front.nginx.processes()[1:] == workers


def test_all_requests_of_a_stopping_nginx_are_answered(front: Front):
    with waiting(front, ["/slow"] * 3) as statuses:
        thread = threading.Thread(target=front.nginx.stop, args=(10,))
        thread.start()
        front.backend.go_on.set()
        thread.join()
    front.nginx.start()
    wait_until(front.accepts, 10, "nginx listens again")

    assert statuses == [200] * 3


def test_workers_of_a_killed_nginx_do_not_keep_its_port(front: Front):
    master, *workers = front.nginx.processes()
    assert workers

    master.kill()
    wait_until(lambda: front.nginx.failure() is not None, 10, "it is noticed")
    assert front.nginx.failure() == "was killed by SIGKILL"
    front.nginx.start()

    wait_until(front.accepts, 10, "nginx listens again")
    psutil.wait_procs(workers, timeout=5)
    assert [worker for worker in workers if worker.is_running()] == []
