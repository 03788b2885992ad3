"""The tests of this folder take minutes: make chaos."""

import os

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/chaos" in str(item.path) and not os.environ.get("TEST_CHAOS"):
            item.add_marker(pytest.mark.skip(reason="run by make chaos"))
