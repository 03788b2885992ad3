"""Passwords in HTTP Basic (RFC 7617), which MLflow's clients send with every request.

Hashing one takes longer than all the rest of a request. A process therefore remembers, by a keyed
hash, which passwords were right, together with the stored hash that they matched: a changed
password is not remembered, and one that is right is hashed once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac

MOST_REMEMBERED: Final = 1000  # passwords

_matched: OrderedDict[str, str] = OrderedDict()  # keyed hash of name and password -> stored hash


def user_by_password(request: HttpRequest, username: str, password: str) -> User | None:
    """The active user with this password; None for a wrong one. Raises TooManyAttempts."""
    if "\x00" in username:
        return None
    key = salted_hmac(
        "accounts.sign_in.basic", f"{username}\0{password}", algorithm="sha256"
    ).hexdigest()
    user = User.objects.filter(username=username, is_active=True).first()
    if user is not None and constant_time_compare(_matched.get(key, ""), user.password):
        return user
    found = authenticate(request, username=username, password=password)
    if found is not None:
        _remember(key, found.password)
    return found


def _remember(key: str, stored: str) -> None:
    _matched[key] = stored
    _matched.move_to_end(key)
    while len(_matched) > MOST_REMEMBERED:
        _matched.popitem(last=False)
