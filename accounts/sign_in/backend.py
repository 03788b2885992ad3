"""The only place where passwords are checked for a sign-in: on the sign-in page, in the admin, and
wherever else ``django.contrib.auth.authenticate`` is called."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest

from accounts.sign_in.limits import address_of, counted_attempt, remember


class LimitedPasswords(ModelBackend):
    """Django's backend under the limits of limits.py."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Raises TooManyAttempts. Names of no account are counted like others: what is refused
        tells nothing about which accounts there are."""
        if username is None or password is None:
            return None
        with counted_attempt(username, address_of(request)) as attempt:
            user = super().authenticate(request, username, password, **kwargs)
            if user is not None:
                attempt.succeed()
        return user


def note_sign_in(request: HttpRequest | None, user: User, **_signal: Any) -> None:
    """Receiver of user_logged_in."""
    remember(user.get_username(), address_of(request))
