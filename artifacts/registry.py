"""The model registry: numbered versions of what a team releases, under one name.

Where a version is made of a checkpoint, its stage and the checkpoint's tag say the same, whichever
of the two was set last (docs/adr/0008-model-registry.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.permissions import sees_everything
from artifacts.logged_models import LoggedModel
from artifacts.models import Artifact, TagValue
from artifacts.queries import one_promotion_at_a_time
from artifacts.tagged import Tagged
from trainhub.exceptions import DomainError
from trainhub.ids import PublicIdField

if TYPE_CHECKING:
    from runs.models import Run


class Stage(models.TextChoices):
    NONE = "None", _("None")
    STAGING = "Staging", _("Staging")
    PRODUCTION = "Production", _("Production")
    ARCHIVED = "Archived", _("Archived")


STAGE_OF_TAG: Final[dict[TagValue, Stage]] = {
    TagValue.CANDIDATE: Stage.STAGING,
    TagValue.RELEASED: Stage.PRODUCTION,
    TagValue.ARCHIVED: Stage.ARCHIVED,
}
TAG_OF_STAGE: Final = {stage: tag for tag, stage in STAGE_OF_TAG.items()}
TAG_OF_ALIAS: Final = {tag.slug: tag for tag in TagValue}  # candidate, released, archived


class NameTaken(DomainError):
    code = "already_exists"


@dataclass(frozen=True)
class RunFile:
    """Where a source lies among a run's artifacts: a file, or a folder of files."""

    run_id: str
    path: str


@dataclass(frozen=True)
class Source:
    """What a version is made of: the client's words, where that lies, and what it is to us."""

    uri: str
    location: str  # where clients fetch the files from
    file: RunFile | None = None
    run: Run | None = None
    logged_model: LoggedModel | None = None


class RegisteredModelQuerySet(models.QuerySet["RegisteredModel"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> RegisteredModelQuerySet:
        """What ``user`` may see. Every member sees every model until there are teams."""
        return self.all() if sees_everything(user) else self.none()

    def register(
        self, name: str, *, description: str, tags: dict[str, str], by: User | None
    ) -> RegisteredModel:
        """A new name without versions. Raises NameTaken."""
        try:
            with transaction.atomic():
                return self.create(name=name, description=description, tags=tags, created_by=by)
        except IntegrityError:
            raise NameTaken(_taken(name)) from None


def _taken(name: str) -> str:
    return _t("There is a registered model %(name)s already.") % {"name": name}


class RegisteredModel(Tagged):
    id = PublicIdField(prefix="model")
    name = models.CharField(_("name"), max_length=256, unique=True)
    description = models.TextField(_("description"), blank=True)
    # Counted as versions are made: numbers are dense, and one that was deleted is not used again.
    last_number = models.PositiveIntegerField(_("last version"), default=0, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = RegisteredModelQuerySet.as_manager()

    class Meta:
        verbose_name = _("registered model")
        verbose_name_plural = _("registered models")
        ordering = ("name",)
        indexes = (
            # The admin's list.
            models.Index(fields=["-created_at", "id"], name="registeredmodel_newest_first"),
        )

    def __str__(self) -> str:
        return self.name

    def rename(self, name: str) -> None:
        """Raises NameTaken."""
        try:
            with transaction.atomic():
                self._change(name=name)
        except IntegrityError:
            raise NameTaken(_taken(name)) from None

    def describe(self, description: str) -> None:
        self._change(description=description)

    def add_version(
        self,
        source: Source,
        *,
        run_link: str,
        description: str,
        tags: dict[str, str],
        by: User | None,
    ) -> ModelVersion:
        """The next version. Made of a tagged checkpoint, it has the stage of the tag set last."""
        with transaction.atomic():
            one_promotion_at_a_time()
            checkpoint = _checkpoint_at(source.file)
            version = self.versions.create(
                number=self._next_number(),
                source=source.uri,
                location=source.location,
                checkpoint=checkpoint,
                run=source.run or (checkpoint.run if checkpoint else None),
                run_link=run_link,
                logged_model=source.logged_model,
                description=description,
                tags=tags,
                created_by=by,
            )
            version.take_over_tags()
        return version

    def _next_number(self) -> int:
        """Call inside a transaction: the row stays locked to its end, so that none is doubled."""
        last = RegisteredModel.objects.select_for_update(no_key=True).get(pk=self.pk).last_number
        self._change(last_number=last + 1)
        return self.last_number

    def point(self, alias: str, number: int, *, by: User | None) -> None:
        """Make ``alias`` a name of the version ``number``, and of no other. One of TAG_OF_ALIAS
        tags the checkpoint that the version is made of. Raises ModelVersion.DoesNotExist."""
        with transaction.atomic():
            one_promotion_at_a_time()
            version = self.versions.get(number=number)
            value = TAG_OF_ALIAS.get(alias)
            if value is not None and version.checkpoint is not None:
                version.checkpoint.tag(value, notes=version.notes_of(value), by=by)
            self.aliases.update_or_create(alias=alias, defaults={"version": version})

    def remove(self) -> None:
        """For good, with its versions. Their sources stay where they are."""
        with transaction.atomic():
            one_promotion_at_a_time()
            self.delete()

    def _change(self, **fields: object) -> None:
        RegisteredModel.objects.filter(pk=self.pk).update(updated_at=Now(), **fields)
        self.refresh_from_db()


def _checkpoint_at(file: RunFile | None) -> Artifact | None:
    """The checkpoint that is ``file``, or that lies in it alone; locked, so that it stays."""
    if file is None or not file.path:
        return None
    lies_there = models.Q(file=file.path) | models.Q(file__startswith=f"{file.path}/")
    found = list(
        Artifact.objects.checkpoints()
        .filter(lies_there, run=file.run_id)
        .select_for_update(no_key=True)
        .order_by("id")[:2]
    )
    return found[0] if len(found) == 1 else None


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> ModelVersionQuerySet:
        """What ``user`` may see. Every member sees every version until there are teams."""
        return self.all() if sees_everything(user) else self.none()

    def follow_tag(self, value: TagValue) -> None:
        """Say what a checkpoint of theirs was tagged: by their stage, and by the alias, which each
        model's newest version of that checkpoint takes over. See Artifact.tag."""
        self.update(stage=STAGE_OF_TAG[value], updated_at=Now())
        newest = self.order_by("model_id", "-number").distinct("model_id")
        for version in newest.select_related("model"):
            version.model.aliases.update_or_create(alias=value.slug, defaults={"version": version})


class ModelVersion(Tagged):
    model = models.ForeignKey(
        RegisteredModel, models.CASCADE, related_name="versions", verbose_name=_("model")
    )
    number = models.PositiveIntegerField(_("version"))
    source = models.TextField(_("source"), max_length=2000)
    location = models.TextField(_("location"), max_length=2000)
    run = models.ForeignKey(
        "runs.Run",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="model_versions",
        verbose_name=_("run"),
    )
    run_link = models.TextField(_("link to the run"), blank=True, max_length=2000)
    logged_model = models.ForeignKey(
        LoggedModel,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="versions",
        verbose_name=_("logged model"),
    )
    # What it is made of, where that is a checkpoint of ours: its tags are the version's stage.
    checkpoint = models.ForeignKey(
        Artifact,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="model_versions",
        verbose_name=_("checkpoint"),
    )
    description = models.TextField(_("description"), blank=True)
    stage = models.CharField(_("stage"), max_length=10, choices=Stage, default=Stage.NONE)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")
        ordering = ("model", "-number")
        constraints = (
            models.UniqueConstraint(name="modelversion_number", fields=["model", "number"]),
            models.CheckConstraint(
                name="modelversion_stage_known", condition=models.Q(stage__in=Stage.values)
            ),
        )
        indexes = (
            # The admin's list.
            models.Index(fields=["-created_at", "id"], name="modelversion_newest_first"),
        )

    def __str__(self) -> str:
        return f"{self.model} {self.number}"

    def describe(self, description: str) -> None:
        self._change(description=description)

    def move_to(self, stage: Stage, *, archive_others: bool, by: User | None) -> None:
        """Set the stage, and tag the checkpoint it is made of. ``archive_others``: those of its
        model that are in the stage now are archived."""
        with transaction.atomic():
            one_promotion_at_a_time()
            if archive_others:
                for other in self._others_in(stage):
                    other._move_to(Stage.ARCHIVED, by=by)
            self._move_to(stage, by=by)
        self.refresh_from_db()

    def _others_in(self, stage: Stage) -> ModelVersionQuerySet:
        """Not those of the same checkpoint: they have its tag, whatever their number."""
        others = self.model.versions.filter(stage=stage).exclude(pk=self.pk).order_by("checkpoint")
        same = models.Q(checkpoint=self.checkpoint_id, checkpoint__isnull=False)
        return others.exclude(same).select_related("checkpoint")

    def _move_to(self, stage: Stage, *, by: User | None) -> None:
        value = TAG_OF_STAGE.get(stage)
        if value is not None and self.checkpoint is not None:
            self.checkpoint.tag(value, notes=self.notes_of(value), by=by)
        else:
            self._change(stage=stage)

    def notes_of(self, value: TagValue) -> str:
        """The notes that its checkpoint's tag has: clients of the registry give none."""
        assert self.checkpoint is not None
        return "".join(tag.notes for tag in self.checkpoint.tags.filter(value=value))

    def take_over_tags(self) -> None:
        """Say what the checkpoint was tagged before. An alias that a version has, it keeps."""
        if self.checkpoint is None:
            return
        for tag in self.checkpoint.tags.order_by("applied_at", "id"):
            value = TagValue(tag.value)
            self.stage = STAGE_OF_TAG[value]
            self.model.aliases.get_or_create(alias=value.slug, defaults={"version": self})
        self._change(stage=self.stage)

    def remove(self) -> None:
        """For good, with its aliases. Its source stays where it is, with the tags it has."""
        with transaction.atomic():
            one_promotion_at_a_time()
            self.delete()

    def _change(self, **fields: object) -> None:
        ModelVersion.objects.filter(pk=self.pk).update(updated_at=Now(), **fields)
        self.refresh_from_db()


class ModelAlias(models.Model):
    model = models.ForeignKey(RegisteredModel, models.CASCADE, related_name="aliases")
    alias = models.CharField(_("alias"), max_length=255)
    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="aliases")

    class Meta:
        verbose_name = _("alias of a model")
        verbose_name_plural = _("aliases of models")
        ordering = ("alias",)
        constraints = (models.UniqueConstraint(name="modelalias_once", fields=["model", "alias"]),)

    def __str__(self) -> str:
        return f"{self.model}@{self.alias}"
