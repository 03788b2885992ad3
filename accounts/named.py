"""Users and teams that an operator names on the command line."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from accounts.models import Team
from core.exceptions import InvalidInput


def user_named(name: str | None) -> User | None:
    """None for None. Raises InvalidInput."""
    if name is None:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        raise InvalidInput(_("There is no user %(name)s.") % {"name": name})
    return user


def team_named(name: str | None) -> Team | None:
    """None for None. Raises InvalidInput."""
    if name is None:
        return None
    team = Team.objects.filter(name=name).first()
    if team is None:
        raise InvalidInput(_("There is no team %(name)s.") % {"name": name})
    return team
