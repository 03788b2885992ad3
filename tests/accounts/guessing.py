"""What tests of sign-in share."""

from datetime import timedelta

from django.db.models import F
from django.test import Client

from accounts.sign_in.allowances import Allowance

PASSWORD = "correct horse battery"


def guess(name: str, password: str = "wrong", address: str = "203.0.113.7"):
    """Send the sign-in page's form, in English, from a browser of its own."""
    return Client().post(
        "/login",
        {"username": name, "password": password},
        headers={"Accept-Language": "en"},
        REMOTE_ADDR=address,
    )


def pass_time(seconds: float) -> None:
    """What is stored becomes that much older."""
    Allowance.objects.update(used_until=F("used_until") - timedelta(seconds=seconds))
