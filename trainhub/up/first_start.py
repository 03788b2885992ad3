"""The local administrator's password, created on the first start."""

import secrets
from typing import Final

from django.contrib.auth.models import User

from accounts.open_mode import LOCAL_ADMINISTRATOR, local_administrator
from core.ids import ALPHABET

GROUPS: Final = 4
GROUP_LENGTH: Final = 4  # 16 characters of 5 bits: 80 bits


def new_password() -> str:
    """A random password that is easy to read and type: ``k7mq-2x9d-…``."""
    return "-".join(
        "".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS)
    )


def ensure_administrator_password() -> str | None:
    """If no superuser can sign in, set and return the local administrator's password, else None.

    Only its hash is stored.
    """
    operators = User.objects.filter(is_superuser=True, is_active=True)
    if any(operator.has_usable_password() for operator in operators):
        return None
    administrator = local_administrator()
    if not administrator.is_superuser:
        return None  # another user's account that happens to have the name
    password = new_password()
    administrator.set_password(password)
    administrator.save(update_fields=["password"])
    return password


def operator_name() -> str:
    """The username for the admin: the local administrator, else the first superuser."""
    operators = User.objects.filter(is_superuser=True, is_active=True).order_by("id")
    names = [user.username for user in operators if user.has_usable_password()]
    return LOCAL_ADMINISTRATOR if LOCAL_ADMINISTRATOR in names or not names else names[0]
