"""Fixtures for the tests of trainhub."""

from collections.abc import Iterator

import pytest
from django.utils import translation


@pytest.fixture
def english() -> Iterator[None]:
    """For tests that check messages; the default language is Chinese."""
    with translation.override("en"):
        yield
