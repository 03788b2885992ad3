"""allauth's apps as they are installed here."""

from allauth.account.apps import AccountConfig


class AllauthAccountConfig(AccountConfig):  # type: ignore[misc]
    """Without allauth's middleware, on which its own insists: see accounts/oidc/views.py."""

    def ready(self) -> None:
        pass
