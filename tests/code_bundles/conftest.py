"""Fixtures for the tests of code that runs bring."""

from collections.abc import Iterator

import pytest
from django.utils import translation


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Errors say why in the reader's language."""
    with translation.override("en"):
        yield
