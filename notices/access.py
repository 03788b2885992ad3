"""Who sets up webhooks for all projects: they tell of every run."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from accounts.grants import AnyUser
from accounts.permissions import is_operator, sees_installation

OPERATE: Final = "notices.change_webhook"


def operates_webhooks(user: AnyUser) -> bool:
    """Operators do, but not by a token that is limited to a project or by its scope."""
    return isinstance(user, User) and sees_installation(user) and is_operator(user, OPERATE)


def refusal() -> str:
    return _(
        "Webhooks for all projects are for superusers and for staff who may change webhooks, and "
        "for tokens of theirs with the scope admin that are not limited to a project."
    )
