"""Saved views of the tables of runs."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from core.exceptions import DomainError, InvalidInput
from core.ids import PublicIdField
from projects.models import Project

MAX_NAME_LENGTH: Final = 100
MAX_QUERY_LENGTH: Final = 8000


class NotYourView(DomainError):
    code = "not_your_view"
    status_code = 403


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def visible_to(self, user: User) -> SavedViewQuerySet:
        """The user's own views, and those that others share."""
        return self.filter(Q(owner=user) | Q(is_shared=True))


class SavedView(models.Model):
    """A name for a table's columns, order, filters and groups: the query of its address."""

    id = PublicIdField(prefix="view")
    project = models.ForeignKey(
        Project, models.CASCADE, related_name="saved_views", verbose_name=_("project")
    )
    owner = models.ForeignKey(User, models.CASCADE, related_name="+", verbose_name=_("owner"))
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH)
    query = models.TextField(_("query"), blank=True, max_length=MAX_QUERY_LENGTH)
    is_shared = models.BooleanField(_("shared"), default=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        verbose_name = _("saved view")
        verbose_name_plural = _("saved views")
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(name="savedview_name", fields=["project", "owner", "name"]),
        )

    def __str__(self) -> str:
        return self.name

    @classmethod
    def create(
        cls, project: Project, *, owner: User, name: str, query: str, is_shared: bool
    ) -> SavedView:
        """Raises InvalidInput."""
        view = cls(project=project, owner=owner, query=query)
        view._save(name, is_shared)
        return view

    def change(self, *, by: User, name: str, is_shared: bool, query: str | None = None) -> None:
        """``query``: None leaves it as it is. Raises NotYourView, InvalidInput."""
        self._check_owner(by)
        if query is not None:
            self.query = query
        self._save(name, is_shared)

    def remove(self, *, by: User) -> None:
        """Raises NotYourView."""
        self._check_owner(by)
        self.delete()

    def open_first_for(self, user: User) -> None:
        """Make it the view that ``user`` sees when they open the project."""
        DefaultView.objects.update_or_create(
            user=user, project=self.project, defaults={"view": self}
        )

    def open_no_more_for(self, user: User) -> None:
        DefaultView.objects.filter(user=user, view=self).delete()

    def _check_owner(self, user: User) -> None:
        if self.owner_id != user.pk:
            raise NotYourView(_t("Only who has saved a view can change it."))

    def _save(self, name: str, is_shared: bool) -> None:
        self.name, self.is_shared = name.strip(), is_shared
        if not self.name or len(self.name) > MAX_NAME_LENGTH or "\x00" in self.name:
            raise InvalidInput(
                _t("A view's name must have 1 to %(limit)d characters.")
                % {"limit": MAX_NAME_LENGTH},
                attr="name",
            )
        if len(self.query) > MAX_QUERY_LENGTH:
            raise InvalidInput(_t("The view is too long to be saved."), attr="name")
        try:
            with transaction.atomic():
                self.save()
        except IntegrityError as error:
            if "savedview_name" not in str(error):
                raise
            raise InvalidInput(
                _t("You have a view with this name already."), attr="name"
            ) from error


class DefaultView(models.Model):
    """The view with which a project's table opens for a user."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    view = models.ForeignKey(SavedView, models.CASCADE, related_name="default_of")

    class Meta:
        verbose_name = _("default view")
        verbose_name_plural = _("default views")
        constraints = (
            models.UniqueConstraint(name="defaultview_once", fields=["user", "project"]),
        )

    def __str__(self) -> str:
        return f"{self.user_id} {self.view_id}"
