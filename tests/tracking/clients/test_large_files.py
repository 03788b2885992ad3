"""Clients whose large files go to S3 and come from there, not through the server."""

from collections.abc import Iterator

import pytest

from tests.artifacts.conftest import s3_server  # noqa: F401
from tests.s3_server import Bucket
from tests.tracking.clients.conftest import Hub
from tests.web_server import WebServer, web_server

pytestmark = pytest.mark.django_db(serialized_rollback=True)

PART = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Bucket:  # noqa: F811
    bucket = Bucket(s3_server, "large-files")
    bucket.client().create_bucket(Bucket=bucket.name)
    return bucket


@pytest.fixture(scope="module")
def storing_in_s3(server, bucket: Bucket, tmp_path_factory) -> Iterator[WebServer]:
    """Another server on the database of ``server``, which empties it."""
    with web_server(tmp_path_factory.mktemp("s3"), **bucket.environment) as server:
        yield server


@pytest.fixture(scope="module")
def large_files(client, storing_in_s3):
    return client.run(
        "large_files",
        MLFLOW_TRACKING_URI=storing_in_s3.url,
        MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE="1000",
        MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE=str(PART),
        MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE=str(PART),
    )


def asked_of(bucket: Bucket, requests: list[str]) -> list[str]:
    host = bucket.url.removeprefix("http://")
    return [request.split()[0] for request in requests if request.endswith(host)]


def test_parts_go_to_s3(large_files, bucket, storing_in_s3):
    puts = [request for request in large_files["forced"] if request.startswith("PUT")]
    assert asked_of(bucket, puts) == ["PUT"] * len(puts) == ["PUT"] * 3
    files = Hub(storing_in_s3.api).files("直传", "large")
    assert files["forced/model.bin"]["sha256"] == large_files["sha256"]


def test_client_finds_out_that_it_can(large_files, bucket, version):
    """From the server's info, as of MLflow 3."""
    expected = ["PUT"] * 3 if version == "3" else []

    assert asked_of(bucket, large_files["found"]) == expected


def test_file_comes_from_s3(large_files, bucket, version):
    expected = ["GET"] * 3 if version == "3" else []

    assert large_files["whole"]
    assert asked_of(bucket, large_files["fetched"]) == expected
