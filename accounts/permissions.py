"""Who may do what. One class for now; roles and teams find their place here.

What a member may *see* is decided by ``visible_to(user)`` on the querysets; what a member may *do*
is decided here.
"""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from rest_framework.permissions import IsAuthenticated


def sees_everything(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether no row is hidden from ``user``. Every member sees everything until there are teams;
    whoever does can be answered without asking the database first."""
    return user.is_authenticated


class MembersOnly(IsAuthenticated):
    """Every signed-in user or token; in open mode, everybody (see accounts.open_mode)."""
