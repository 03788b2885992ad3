"""Fixtures of a provider on loopback."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

# Loaded before the settings change: which URLs there are is decided once.
from tests.accounts.oidc import urls  # noqa: F401
from tests.accounts.oidc.provider import Provider


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with Provider().running() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: Provider, settings: Settings) -> Provider:
    """Configured, with accounts made for whoever comes."""
    settings.OPEN_MODE = False
    settings.ROOT_URLCONF = "tests.accounts.oidc.urls"
    settings.OIDC_ISSUER = running_provider.url
    settings.OIDC_NAME = "Example SSO"
    settings.OIDC_CREATE_USERS = True
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {
                    "provider_id": "oidc",
                    "name": "Example SSO",
                    "client_id": "trainhub",
                    "secret": "secret",
                    "settings": {"server_url": running_provider.url},
                }
            ],
        }
    }
    return running_provider
