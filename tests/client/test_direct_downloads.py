"""Downloads whose bytes come from S3, and from the server if S3 cannot be reached."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from trainhub_client import downloads
from trainhub_client.api import Api
from trainhub_client.config import Config

from artifacts import uploads
from tests.artifacts.conftest import s3_server  # noqa: F401
from tests.factories import sha256, unmanaged_run
from tests.s3_server import Bucket
from tests.up_process import free_port
from tests.web_server import WebServer, web_server
from trainhub.artifact_urls import artifact_storage_options

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.xdist_group("client"),
]

CONTENT = b"weights" * 100_000
BY_URL = "X-Amz-Signature"  # of a presigned URL; a server's own requests have it in a header


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Bucket:  # noqa: F811
    bucket = Bucket(s3_server, "downloads")
    bucket.client().create_bucket(Bucket=bucket.name)
    return bucket


@pytest.fixture(scope="module")
def running_server(django_db_setup, bucket, tmp_path_factory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("s3"), **bucket.environment) as running:
        yield running


@pytest.fixture
def server(transactional_db, running_server, bucket, settings, monkeypatch) -> WebServer:
    """Its bucket is the test's, too."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    options = artifact_storage_options(bucket.storage_url, running_server.data)
    settings.STORAGES = {**settings.STORAGES, "artifacts": options}
    return running_server


def gets(caplog) -> list[str]:
    """What S3 was asked for by clients, and by servers."""
    return [it.getMessage() for it in caplog.records if "GET /downloads/kept" in it.getMessage()]


def test_artifact_comes_from_s3(trainhub, project, tmp_path, caplog):
    caplog.set_level("INFO", logger="werkzeug")
    run = unmanaged_run(project=project)
    uploads.store(run, "a/weights.bin", io.BytesIO(CONTENT))
    caplog.clear()

    done = trainhub("get", f"{run.pk}:a/weights.bin", "-o", str(tmp_path))

    assert done.code == 0, done.err
    assert (tmp_path / "weights.bin").read_bytes() == CONTENT
    [asked] = gets(caplog)
    assert BY_URL in asked


def test_download_from_s3_goes_on_where_it_was_cut_off(trainhub, project, tmp_path, caplog):
    caplog.set_level("INFO", logger="werkzeug")
    run = unmanaged_run(project=project)
    uploads.store(run, "weights.bin", io.BytesIO(CONTENT))
    part = tmp_path / f".weights.bin.{sha256(CONTENT)[:12]}.part"
    part.write_bytes(CONTENT[:300_000])
    caplog.clear()

    done = trainhub("get", f"{run.pk}:weights.bin", "-o", str(tmp_path))

    assert done.code == 0, done.err
    assert (tmp_path / "weights.bin").read_bytes() == CONTENT
    assert [BY_URL in asked and asked.endswith(" 206 -") for asked in gets(caplog)] == [True]


def test_damaged_download_from_s3_is_refused(trainhub, project, bucket, tmp_path):
    run = unmanaged_run(project=project)
    artifact, _is_new = uploads.store(run, "weights.bin", io.BytesIO(CONTENT))
    key = f"kept/{artifact.storage_key}"
    bucket.client().put_object(Bucket=bucket.name, Key=key, Body=bytes(len(CONTENT)))

    done = trainhub("get", f"{run.pk}:weights.bin", "-o", str(tmp_path))

    assert done.code == 4
    assert not (tmp_path / "weights.bin").exists()


@pytest.fixture
def elsewhere(monkeypatch) -> Iterator[tuple[Api, list[str]]]:
    """A server that sends whoever prefers it on to where nothing answers; what it was told of
    preferences."""
    monkeypatch.setenv("NO_PROXY", "*")
    preferences: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            preferences.append(self.headers.get("Prefer", ""))
            if preferences[-1] == "direct":
                self.send_response(302)
                self.send_header("Preference-Applied", "direct")
                self.send_header("Location", f"http://127.0.0.1:{free_port()}/object")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    api = Api(Config(f"http://127.0.0.1:{server.server_port}"))
    yield api, preferences
    api.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_bytes_come_from_the_server_if_s3_cannot_be_reached(elsewhere, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0)
    api, preferences = elsewhere
    target = tmp_path / "weights.bin"

    downloads.fetch(api, "/file", target, sha256(CONTENT), len(CONTENT))

    assert preferences == ["direct", ""]
    assert target.read_bytes() == CONTENT
