from collections.abc import Iterator

import pytest
from django.utils import translation


@pytest.fixture
def english() -> Iterator[None]:
    """For tests that read sentences; the default language is Chinese."""
    with translation.override("en"):
        yield
