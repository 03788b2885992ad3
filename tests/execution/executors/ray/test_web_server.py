"""What a worker knows of the web server, by a probe and by launchers that have reported."""

import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from django.utils import timezone

from execution.executors.ray import web_server
from execution.executors.ray.web_server import WebServer
from execution.models import MirroredNode
from tests.execution.mirror.nodes import mirrored_attempt
from tests.factories import running
from tests.up_process import free_port

pytestmark = pytest.mark.django_db


@contextmanager
def answering(settings, status, certificate=None):
    """A web server that answers each request with ``status``."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        settings.PUBLIC_URL = f"{scheme}://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass by hand."""
    now = [1000.0]
    monkeypatch.setattr(web_server, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def unreachable(settings):
    """Nothing answers at the public URL."""
    settings.PUBLIC_URL = f"http://127.0.0.1:{free_port()}"


def hear(seconds_ago):
    """A launcher has reported."""
    row, _attempt = mirrored_attempt(running())
    at = timezone.now() - timedelta(seconds=seconds_ago)
    MirroredNode.objects.create(attempt=row, rank=0, launcher="x", seen_at=at)


@pytest.mark.parametrize(
    ("status", "answers"), [(200, 0.0), (400, 0.0), (403, 0.0), (502, None), (503, None)]
)
def test_any_answer_of_its_own_counts(settings, status, answers):
    with answering(settings, status):
        assert WebServer().answers_for() == answers


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate")
def test_authority_that_this_host_does_not_know_does_not_matter(settings, tmp_path):
    certificate = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=hub", "-days", "1"]
    files = ["-out", str(certificate[0]), "-keyout", str(certificate[1])]
    subprocess.run(["openssl", "req", *options, *files], check=True, capture_output=True)

    with answering(settings, 200, certificate):
        assert WebServer().answers_for() == 0.0


def test_launcher_that_has_just_reported_shows_that_it_answers(unreachable):
    hear(seconds_ago=1)

    assert WebServer().answers_for() == 0.0


def test_it_is_unknown_if_nobody_reports_and_no_probe_reaches_it(unreachable):
    hear(seconds_ago=6)

    assert WebServer().answers_for() is None


def test_seconds_count_from_the_first_question_to_which_it_answers(monkeypatch, clock):
    monkeypatch.setattr(web_server, "_is_up", lambda: clock[0] >= 1005)
    web = WebServer()

    answers = []
    for seconds in (0, 5, 7, 7):
        clock[0] += seconds
        answers.append(web.answers_for())

    assert answers == [None, 0.0, 7.0, 14.0]


def test_nothing_is_known_of_a_time_without_questions(monkeypatch, clock):
    monkeypatch.setattr(web_server, "_is_up", lambda: True)
    web = WebServer()
    web.answers_for()

    clock[0] += web_server.GAP_SECONDS + 1

    assert web.answers_for() == 0.0
