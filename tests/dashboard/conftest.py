"""Fixtures of the tests of pages."""

import pytest


@pytest.fixture(autouse=True)
def one_moment(monkeypatch):
    """Live parts do not change because a test reaches the next minute."""
    monkeypatch.setattr("dashboard.live.clock", lambda: 0.0)
