from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from knox.models import AuthToken


class Command(BaseCommand):
    help = "Make an API token for a user and print it, once; only its hash is stored."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--days", type=int, help="its life in days; without it, no end")

    def handle(self, *, username: str, days: int | None, **options: Any) -> None:
        if days is not None and days < 1:
            raise CommandError("--days must be 1 or more.")
        try:
            user = User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(
                f"There is no user {username}. Make one: manage.py createsuperuser."
            ) from None
        expiry = timedelta(days=days) if days else None
        _stored, token = AuthToken.objects.create(user, expiry=expiry)
        self.stdout.write(token)
