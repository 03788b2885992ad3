"""The authenticated user of a request."""

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.request import Request


def user_of(request: Request | HttpRequest) -> User:
    """The signed-in user, or the local administrator in open mode. Call after authentication."""
    user = request.user
    assert isinstance(user, User)
    return user
