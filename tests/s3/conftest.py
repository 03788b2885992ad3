"""A real S3 server for the tests of this folder: make test-s3."""

import pytest

from tests.artifacts.conftest import asked, s3  # noqa: F401
from tests.s3.seaweed import Seaweed, missing


def pytest_collection_modifyitems(items):
    reason = missing()
    for item in items:
        if reason and "tests/s3/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def s3_server():
    server = Seaweed()
    try:
        server.start()
        yield server.url
    finally:
        server.stop()
