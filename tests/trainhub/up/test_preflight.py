"""Checks before a start and their error messages (end to end: test_up.py)."""

import socket
from collections.abc import Iterator

import pytest
from django.db import connection
from moto.server import ThreadedMotoServer
from pytest_django import Settings

from execution.executors import training_user
from tests.up_process import free_port
from trainhub.up import preflight
from trainhub.up.preflight import StartupError
from trainhub.up.web_server import address_of

pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A program that listens on a port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other


# --- Configuration ---------------------------------------------------------------------------


def test_valid_configuration_passes():
    assert preflight.check_configuration() == []


def test_all_contradictions_are_reported_together(settings: Settings):
    settings.PRODUCTION = settings.OPEN_MODE = settings.DEBUG = True

    with pytest.raises(StartupError, match=r"Open mode .* refused in production.*TRAINHUB_DEBUG"):
        preflight.check_configuration()


def test_warnings_are_returned(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training_user, "problem", lambda: None)
    settings.TRAINING_USER = "nobody"
    settings.OPEN_MODE = True

    warnings = preflight.check_configuration()

    assert any("TRAINHUB_OPEN_MODE=false" in warning for warning in warnings)


# --- Port ------------------------------------------------------------------------------------


def test_free_port_passes():
    preflight.check_port("127.0.0.1", free_port())


def test_port_in_use_is_refused(listener: socket.socket):
    port = listener.getsockname()[1]

    with pytest.raises(StartupError, match=f"Port {port} on localhost is in use"):
        preflight.check_port("localhost", port)


def test_port_released_in_time_passes(listener: socket.socket, monkeypatch: pytest.MonkeyPatch):
    port = listener.getsockname()[1]
    monkeypatch.setattr(preflight.time, "sleep", lambda _: listener.close())

    preflight.check_port("127.0.0.1", port, timeout_seconds=30)


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("127.0.0.1", 0, "ports range from 1 to 65535"),
        ("127.0.0.1", 65_536, "ports range from 1 to 65535"),
        ("192.0.2.1", 8000, "Cannot assign requested address"),  # reserved for documentation
        ("no host", 8000, "Name or service not known"),
    ],
)
def test_invalid_listen_address_is_refused(host: str, port: int, reason: str):
    with pytest.raises(StartupError, match=f"cannot listen on {host} port {port}: {reason}"):
        preflight.check_port(host, port)


@pytest.mark.parametrize(
    ("host", "address"),
    [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1")],
)
def test_host_is_resolved_to_an_ip_address(host: str, address: str):
    assert address_of(host, 8000)[1] == address


# --- Artifact storage ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def use_bucket(settings: Settings, bucket: str, endpoint_url: str) -> None:
    options = {
        "bucket_name": bucket,
        "endpoint_url": endpoint_url,
        "access_key": "key",
        "secret_key": "secret",
        "region_name": "us-east-1",
    }
    backend = "artifacts.storage.ArtifactS3Storage"
    settings.STORAGES = {
        **settings.STORAGES,
        "artifacts": {"BACKEND": backend, "OPTIONS": options},
    }


def test_file_storage_needs_no_bucket():
    preflight.check_artifact_storage()


def test_bucket_that_exists_passes(settings: Settings, s3_url: str):
    use_bucket(settings, "there", s3_url)
    from artifacts.storage import artifact_storage

    artifact_storage().connection.create_bucket(Bucket="there")

    preflight.check_artifact_storage()


def test_bucket_that_does_not_exist_is_refused(settings: Settings, s3_url: str):
    use_bucket(settings, "nowhere", s3_url)

    with pytest.raises(StartupError, match=r"The S3 bucket nowhere .* it does not exist"):
        preflight.check_artifact_storage()


def test_unreachable_s3_is_refused(settings: Settings):
    use_bucket(settings, "there", f"http://127.0.0.1:{free_port()}")

    with pytest.raises(StartupError, match=r"The S3 bucket there .* Could not connect"):
        preflight.check_artifact_storage()


def test_invalid_s3_endpoint_is_refused(settings: Settings):
    use_bucket(settings, "there", "nonsense")

    with pytest.raises(StartupError, match=r"The S3 bucket there .* Invalid endpoint: nonsense"):
        preflight.check_artifact_storage()


# --- Database --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_database_that_answers_passes():
    preflight.check_database()


@pytest.mark.django_db
def test_database_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "pg_version", 140_011, raising=False)

    with pytest.raises(StartupError, match="is PostgreSQL 14; TrainHub needs 15 or newer"):
        preflight.check_database()
