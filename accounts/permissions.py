"""Permissions. One class for now; roles and teams belong here.

What a user may *see* is decided by ``visible_to(user)`` on the querysets; what a user may *do* is
decided here.
"""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from rest_framework.permissions import IsAuthenticated


def sees_everything(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether ``user`` can see every row, in which case views skip the visibility query. True for
    every signed-in user until there are teams."""
    return user.is_authenticated


class MembersOnly(IsAuthenticated):
    """Any signed-in user or valid token; in open mode, any request (see accounts.open_mode)."""
