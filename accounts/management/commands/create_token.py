"""Creates an API token for a user."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction

from accounts.models import Token
from accounts.models.token import MAX_NAME_LENGTH
from accounts.roles import Scope

MAX_DAYS = 36_500


class Command(BaseCommand):
    help = "Create an API token for a user and print it. Only its hash is stored."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--days", type=int, help="days until it expires (default: never)")
        parser.add_argument("--name", default="", help="what it is for")
        parser.add_argument(
            "--scope",
            choices=Scope.values,
            default=Scope.ADMIN.value,
            help="what it allows of what the user may do (default: everything)",
        )
        parser.add_argument("--project", default="", help="id of the only project that it is for")

    def handle(
        self,
        *,
        username: str,
        days: int | None,
        name: str,
        scope: str,
        project: str,
        **options: Any,
    ) -> None:
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--days must be 1 to {MAX_DAYS}.")
        if len(name) > MAX_NAME_LENGTH:
            raise CommandError(f"--name must have at most {MAX_NAME_LENGTH} characters.")
        try:
            user = User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(
                f"There is no user {username}. To create one, run manage.py createsuperuser."
            ) from None
        if not user.is_active:
            raise CommandError(f"{username} is not active: the token would be rejected.")
        try:
            with transaction.atomic():
                _stored, secret = Token.issue(
                    user,
                    name=name,
                    scope=Scope(scope),
                    project_id=project or None,
                    life=timedelta(days=days) if days is not None else None,
                )
        except IntegrityError:
            raise CommandError(f"There is no project {project}.") from None
        self.stdout.write(secret)
