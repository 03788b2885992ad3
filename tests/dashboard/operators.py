"""People who may do more than others, and their browsers."""

from django.contrib.auth.models import Permission, User
from django.test import Client

from accounts.open_mode import local_administrator
from tests.factories import UserFactory


def signed_in(user: User) -> Client:
    client = Client(headers={"Accept-Language": "en"}, SERVER_NAME="localhost")
    client.force_login(user)
    return client


def administrator() -> Client:
    return signed_in(local_administrator())


def member() -> Client:
    """Of no staff."""
    return signed_in(UserFactory())


def staff(*permissions: str) -> Client:
    user = UserFactory(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return signed_in(user)
