"""Revokes API tokens."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Token
from accounts.models.token import BEGINNING_LENGTH


class Command(BaseCommand):
    help = "Revoke a token by its id or its first characters, or all tokens of a user."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("token", nargs="?", default="", help="token_… or th_…")
        which.add_argument("--user", default="", help="revoke all tokens of this user")

    def handle(self, *, token: str, user: str, **options: Any) -> None:
        tokens = Token.objects.personal()
        if user:
            tokens = tokens.filter(user__username=user)
        elif token.startswith("token_"):
            tokens = tokens.filter(pk=token)
        elif len(token) >= BEGINNING_LENGTH:
            tokens = tokens.filter(beginning=token[:BEGINNING_LENGTH])
        else:
            raise CommandError(f"Give the token's id, or its first {BEGINNING_LENGTH} characters.")
        count, _by_model = tokens.delete()
        if not count:
            raise CommandError("There is no such token.")
        self.stdout.write(f"Revoked: {count}.")
