"""Fixtures for artifacts stored in S3."""

import hashlib

import boto3
import pytest
from moto.server import ThreadedMotoServer

from artifacts.storage import artifact_storage
from trainhub.artifact_urls import artifact_storage_options


@pytest.fixture(scope="module")
def s3_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server, settings, tmp_path, monkeypatch):
    """Store artifacts in an S3 bucket; yields a client for it."""
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    bucket = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:32]
    client.create_bucket(Bucket=bucket)
    url = f"s3://{bucket}/kept/here?endpoint_url={s3_server}&region_name=us-east-1"
    settings.STORAGES = {
        **settings.STORAGES,
        "artifacts": artifact_storage_options(url, tmp_path),
    }
    client.bucket = bucket
    yield client
    client.close()


@pytest.fixture
def asked(s3):
    """What the storage has asked of S3: names of operations; of GET, with the number of bytes that
    S3 has announced."""
    operations = []

    def record(parsed, model, **_unused):
        is_get = model.name == "GetObject"
        operations.append((model.name, parsed["ContentLength"]) if is_get else model.name)

    artifact_storage().connection.meta.client.meta.events.register("after-call.s3", record)
    return operations
