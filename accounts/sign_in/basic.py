"""Passwords in HTTP Basic (RFC 7617), which MLflow's clients send with every request.

Hashing one takes longer than all the rest of a request. A process therefore remembers, by a keyed
hash, which passwords were right, together with the stored hash that they matched: a changed
password is not remembered, and one that is right is hashed once. The limits of wrong passwords hold
for remembered ones, too: whoever guesses one that somebody uses must not be told so without limit.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.sign_in.limits import Attempt, address_of, remember

MOST_REMEMBERED: Final = 1000  # passwords

_matched: OrderedDict[str, str] = OrderedDict()  # keyed hash of name and password -> stored hash


def user_by_password(request: HttpRequest, username: str, password: str) -> User | None:
    """The active user with this password; None for a wrong one. Raises TooManyAttempts."""
    if "\x00" in username:
        return None
    key = salted_hmac(
        "accounts.sign_in.basic", f"{username}\0{password}", algorithm="sha256"
    ).hexdigest()
    address = address_of(request)
    user = User.objects.filter(username=username, is_active=True).first()
    if user is not None and constant_time_compare(_matched.get(key, ""), user.password):
        Attempt(username, address).check()
        return user
    found = authenticate(request, username=username, password=password)
    if found is not None:
        _keep(key, found.password)
        remember(username, address)  # or guessers elsewhere could lock this client out
    return found


def _keep(key: str, stored: str) -> None:
    _matched[key] = stored
    _matched.move_to_end(key)
    while len(_matched) > MOST_REMEMBERED:
        _matched.popitem(last=False)
