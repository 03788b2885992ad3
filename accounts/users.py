"""The user behind a request that has passed the permissions."""

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.request import Request


def user_of(request: Request | HttpRequest) -> User:
    """Whoever is signed in; in open mode, the local administrator. Anonymous is a bug here."""
    user = request.user
    assert isinstance(user, User)
    return user
