"""Accounts of programs: nobody signs in with them, and they have tokens."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.models.team import Team
from accounts.roles import Role
from core.exceptions import DomainError


class UsernameTaken(DomainError):
    code = "username_taken"


class ServiceAccount(models.Model):
    """``user`` has no usable password. ``team``: whose owners issue and revoke its tokens; without
    one, only superusers do."""

    user = models.OneToOneField(
        User, models.CASCADE, related_name="service_account", verbose_name=_("user")
    )
    team = models.ForeignKey(
        Team,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="service_accounts",
        verbose_name=_("team"),
    )
    description = models.CharField(_("description"), max_length=200, blank=True)
    created_by = models.ForeignKey(
        User,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("service account")
        verbose_name_plural = _("service accounts")
        ordering = ("user__username",)

    def __str__(self) -> str:
        return self.user.get_username()

    @classmethod
    def create(
        cls, name: str, *, team: Team | None = None, description: str = "", by: User | None
    ) -> ServiceAccount:
        """With the role of members in ``team``. Raises UsernameTaken, TeamGone."""
        with transaction.atomic():
            try:
                with transaction.atomic():
                    user = User.objects.create_user(name)  # with an unusable password
            except IntegrityError:
                taken = _t("There is a user with this name.")
                raise UsernameTaken(taken, attr="name") from None
            if team is not None:
                team.add(user, Role.MEMBER, by=None)  # made for the team: what it creates is theirs
            return cls.objects.create(user=user, team=team, description=description, created_by=by)
