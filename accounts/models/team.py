"""Teams own projects; their members have a role in each of them."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser, grant_of
from accounts.roles import Role
from core.exceptions import DomainError
from core.ids import PublicIdField

MAX_NAME_LENGTH = 100


class TeamNameTaken(DomainError):
    code = "team_name_taken"


class LastOwner(DomainError):
    code = "last_owner"


class TeamInUse(DomainError):
    code = "team_in_use"


class TeamGone(DomainError):
    """It has been deleted since it was looked up."""

    code = "not_found"
    status_code = 404


class NotAMember(DomainError):
    code = "not_found"
    status_code = 404


class TeamQuerySet(models.QuerySet["Team"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> TeamQuerySet:
        """The teams in which ``user`` has ``role`` or a higher one."""
        grant = grant_of(user)
        role = max(role, grant.needed_role)
        is_limited = bool(grant.run_id or grant.project_id)
        if not user.is_authenticated or is_limited or grant.highest_role < role:
            return self.none()
        if getattr(user, "is_superuser", False):
            return self.all()
        return self.filter(
            pk__in=TeamMembership.objects.filter(user=user.pk, role__gte=role).values("team")
        )


class Team(models.Model):
    id = PublicIdField(prefix="team")
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH, unique=True)
    description = models.CharField(_("description"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = TeamQuerySet.as_manager()

    class Meta:
        verbose_name = _("team")
        verbose_name_plural = _("teams")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def create(cls, name: str, *, description: str = "", by: User | None) -> Team:
        """Create a team whose owner is ``by``. Raises TeamNameTaken."""
        team = cls(name=name, description=description)
        with transaction.atomic():
            team._save()
            if by is not None:
                team.memberships.create(user=by, role=Role.OWNER, takes_new_projects=True)
        return team

    def change(self, *, name: str | None = None, description: str | None = None) -> None:
        """None leaves it as it is. Raises TeamNameTaken."""
        self.name = self.name if name is None else name
        self.description = self.description if description is None else description
        self._save()

    def _save(self) -> None:
        try:
            with transaction.atomic():
                self.save()
        except IntegrityError:
            raise TeamNameTaken(_t("There is a team with this name."), attr="name") from None

    def disband(self) -> None:
        """Delete the team. Its service accounts are deactivated: nobody would be left to revoke
        their tokens. Raises TeamInUse, TeamGone."""
        with transaction.atomic():
            self.lock()
            if self.projects.exists():
                raise TeamInUse(_t("The team owns projects: give them to another one first."))
            User.objects.filter(service_account__team=self).update(is_active=False)
            self.delete()

    def lock(self) -> None:
        """Until the transaction ends. Raises TeamGone."""
        if Team.objects.select_for_update().filter(pk=self.pk).first() is None:
            raise TeamGone(_t("There is no such team."))

    @classmethod
    def only_one_of(cls, user: User | None) -> Team | None:
        """The team to which what ``user`` creates belongs unless they say otherwise: that in which
        they are a member or more and which takes their new projects, if there is just one."""
        if user is None:
            return None
        trains = TeamMembership.objects.filter(user=user, role__gte=Role.MEMBER)
        teams = list(trains.filter(takes_new_projects=True).select_related("team")[:2])
        return teams[0].team if len(teams) == 1 else None

    def add(self, user: User, role: Role, *, by: User | None) -> TeamMembership:
        """Make ``user`` a member, or change their role. ``by``: None for TrainHub itself.

        Anybody may own a team and add anybody to it. So the new projects of a new member belong to
        it only if a superuser or TrainHub adds them; otherwise it is for them to decide. A change
        of the role leaves that as it is. Raises LastOwner, TeamGone.
        """
        with transaction.atomic():
            self.lock()
            if role < Role.OWNER:
                self._keep_an_owner(without=user)
            membership, _created = self.memberships.update_or_create(
                user=user,
                defaults={"role": role},
                create_defaults={"role": role, "takes_new_projects": is_trusted_to_add(by)},
            )
        return membership

    def take_new_projects(self, user: User, is_taking: bool) -> TeamMembership:
        """Whether the new projects of ``user`` belong to the team: for them alone to decide. Raises
        NotAMember."""
        with transaction.atomic():
            membership = self.memberships.select_for_update().filter(user=user).first()
            if membership is None:
                raise NotAMember(_t("You are not a member of this team."))
            membership.takes_new_projects = is_taking
            membership.save(update_fields=["takes_new_projects"])
        return membership

    def remove(self, user: User) -> None:
        """Raises LastOwner, TeamGone."""
        with transaction.atomic():
            self.lock()
            self._keep_an_owner(without=user)
            self.memberships.filter(user=user).delete()

    def _keep_an_owner(self, *, without: User) -> None:
        """Call with the team's row locked. Deactivated owners do not count: they can do nothing.
        Raises LastOwner."""
        owners = self.memberships.filter(role=Role.OWNER)
        if not owners.filter(user=without).exists():
            return
        if not owners.filter(user__is_active=True).exclude(user=without).exists():
            raise LastOwner(_t("A team needs an owner: make somebody else one first."))


def is_trusted_to_add(by: User | None) -> bool:
    """Whether the new projects of those whom ``by`` adds to a team belong to it at once."""
    return by is None or by.is_superuser


class TeamMembership(models.Model):
    """``takes_new_projects``: the member's consent that what they create belongs to the team: new
    projects, MLflow experiments and registered models. See Team.only_one_of."""

    team = models.ForeignKey(
        Team, models.CASCADE, related_name="memberships", verbose_name=_("team")
    )
    user = models.ForeignKey(
        User, models.CASCADE, related_name="team_memberships", verbose_name=_("user")
    )
    role = models.PositiveSmallIntegerField(_("role"), choices=Role, default=Role.MEMBER)
    takes_new_projects = models.BooleanField(
        _("takes new projects"), default=False, db_default=False
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("team membership")
        verbose_name_plural = _("team memberships")
        ordering = ("team", "-role", "user__username")
        constraints = (
            models.UniqueConstraint(name="teammembership_once", fields=["team", "user"]),
            models.CheckConstraint(
                name="teammembership_role_known", condition=models.Q(role__in=Role.values)
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} · {self.team}"
