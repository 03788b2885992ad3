"""Creates an API token for a user."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from knox.models import AuthToken

MAX_DAYS = 36_500


class Command(BaseCommand):
    help = "Create an API token for a user and print it. Only its hash is stored."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--days", type=int, help="days until it expires (default: never)")

    def handle(self, *, username: str, days: int | None, **options: Any) -> None:
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--days must be 1 to {MAX_DAYS}.")
        try:
            user = User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(
                f"There is no user {username}. To create one, run manage.py createsuperuser."
            ) from None
        if not user.is_active:
            raise CommandError(f"{username} is not active: the token would be rejected.")
        expiry = timedelta(days=days) if days is not None else None
        _stored, token = AuthToken.objects.create(user, expiry=expiry)
        self.stdout.write(token)
