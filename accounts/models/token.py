"""API tokens: what is stored is their hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.roles import Scope
from core.ids import PublicIdField

PREFIX: Final = "th_"  # lets secret scanners recognize a leaked token
RANDOM_BYTES: Final = 32
SEPARATOR: Final = "."  # before the id of a run; never part of other tokens
BEGINNING_LENGTH: Final = 15
MAX_NAME_LENGTH: Final = 100


def digest_of(token: str) -> str:
    """The hash by which a token is stored and found. A plain SHA-512 does, because a token is 256
    random bits: there is nothing to guess."""
    return hashlib.sha512(token.encode(errors="replace")).hexdigest()


class TokenQuerySet(models.QuerySet["Token"]):
    def personal(self) -> TokenQuerySet:
        """Without those that runs are started with."""
        return self.filter(run_id="")


class Token(models.Model):
    """A token of ``user``. ``project_id``: the only project that it is for; ``run_id``: the only
    run, whose script has it. Both empty: no such limit."""

    id = PublicIdField(prefix="token")
    digest = models.CharField(max_length=128, unique=True, editable=False, db_collation="C")
    beginning = models.CharField(_("beginning"), max_length=BEGINNING_LENGTH, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="tokens", verbose_name=_("user"))
    # Who has seen its secret, if that is known: another than ``user`` of a service account's.
    issued_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH, blank=True)
    scope = models.CharField(_("scope"), max_length=8, choices=Scope, default=Scope.WRITE)
    # Projects and runs are apps that build on this one. The first has a foreign key in the
    # database, which a migration of projects adds.
    project_id = models.CharField(
        _("project"), max_length=32, null=True, blank=True, db_collation="C"
    )
    run_id = models.CharField(_("run"), max_length=32, blank=True, editable=False, default="")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)

    objects = TokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")
        ordering = ("-created_at", "id")
        indexes = (
            models.Index(fields=["beginning"], name="token_by_beginning"),
            models.Index(fields=["-created_at", "id"], name="token_newest_first"),
        )
        constraints = (
            models.CheckConstraint(
                name="token_scope_known", condition=models.Q(scope__in=Scope.values)
            ),
        )

    def __str__(self) -> str:
        return self.name or f"{self.beginning}…"

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def is_valid(self) -> bool:
        return self.user.is_active and not self.has_expired

    def renew(self) -> str:
        """Make up the token's secret and return it. It is stored with the next ``save``."""
        suffix = f"{SEPARATOR}{self.run_id}" if self.run_id else ""
        secret = f"{PREFIX}{secrets.token_hex(RANDOM_BYTES)}{suffix}"
        self.digest = digest_of(secret)
        self.beginning = secret[:BEGINNING_LENGTH]
        return secret

    @classmethod
    def issue(
        cls,
        user: User,
        *,
        name: str = "",
        scope: Scope = Scope.ADMIN,
        project_id: str | None = None,
        run_id: str = "",
        life: timedelta | None = None,
        by: User | None = None,
    ) -> tuple[Token, str]:
        """Store a token that expires after ``life``; None: never. Return it with its secret, which
        cannot be read again. ``by``: who gets to see it. Raises IntegrityError for a project that
        is not there."""
        token = cls(user=user, name=name, scope=scope, project_id=project_id, run_id=run_id)
        token.issued_by = by
        token.expires_at = None if life is None else timezone.now() + life
        secret = token.renew()
        token.save(force_insert=True)
        return token, secret


def run_of(secret: str) -> str:
    """The id of the run that a valid token is for; empty if it is not a script's."""
    return secret.partition(SEPARATOR)[2]
