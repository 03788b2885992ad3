"""The model registry: registered models, their numbered versions and aliases.

The stage of a version and the tags of the checkpoint it was created from are kept in sync: setting
one updates the other (docs/adr/0008-model-registry.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser, grant_of
from accounts.models import Team
from accounts.permissions import require_all_projects, script_run_of, sees_everything
from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from artifacts.queries import lock_promotions
from artifacts.released import released
from artifacts.same_path import own_in_use
from core.exceptions import DomainError
from core.ids import PublicIdField
from core.messages import Message
from projects.access import RoleNeeded, require_of
from projects.models import Project
from registry.checkpoint_policy import CheckpointPolicy as CheckpointPolicy
from registry.evaluation_rules import EvaluationRule as EvaluationRule
from registry.evaluation_rules import SeenCheckpoint as SeenCheckpoint
from registry.logged_models import LoggedModel
from registry.release_policy import DemandsLess, NoSingleCheckpoint
from registry.release_policy import ReleasePolicy as ReleasePolicy
from registry.release_requests import ReleaseRequest as ReleaseRequest
from registry.tags import TagsMixin
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
    """The location of a source among a run's artifacts: a file or a folder of files."""

    run_id: str
    path: str


@dataclass(frozen=True)
class Source:
    """What a version is created from: the client's URI, and what that URI resolves to."""

    uri: str
    location: str  # where clients download the files from
    file: RunFile | None = None
    run: Run | None = None
    run_elsewhere: str = ""  # the ID of a run that is not here
    logged_model: LoggedModel | None = None


class RegisteredModelQuerySet(models.QuerySet["RegisteredModel"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> RegisteredModelQuerySet:
        """The models that belong to ``user`` or their teams, and those with a version of a project
        that they see. Whoever wants to change a model needs ``role`` for all of its versions."""
        role = max(role, grant_of(user).needed_role)
        if sees_everything(user, role=role):
            return self.all()
        versions = ModelVersion.objects.filter(model=models.OuterRef("pk"))
        seen = _seen_versions(user, role)
        found = self.filter(_belongs_to(user, role) | models.Exists(versions.filter(seen)))
        if role == Role.VIEWER:
            return found
        return found.exclude(models.Exists(versions.exclude(seen)))

    def register(
        self, name: str, *, description: str, tags: dict[str, str], by: User | None
    ) -> RegisteredModel:
        """Create a model without versions. Raises NameTaken, LimitedToProject."""
        require_all_projects(by)
        try:
            with transaction.atomic():
                return self.create(
                    name=name,
                    description=description,
                    tags=tags,
                    created_by=by,
                    team=Team.only_one_of(by),
                )
        except IntegrityError:
            raise _name_taken(name) from None


def _belongs_to(user: AnyUser, role: Role, prefix: str = "") -> models.Q:
    """Models that ``user`` has registered, or somebody of a team in which they have ``role``."""
    grant = grant_of(user)
    of_teams = models.Q(**{f"{prefix}team__in": Team.objects.visible_to(user, role=role)})
    if grant.run_id or grant.project_id or grant.highest_role < role:
        return of_teams  # none
    return of_teams | models.Q(**{f"{prefix}created_by": user.pk})


def _seen_versions(user: AnyUser, role: Role) -> models.Q:
    projects = models.Q(project__in=Project.objects.visible_to(user, role=role))
    return projects | models.Q(project=None) & _belongs_to(user, role, "model__")


def _name_taken(name: str) -> NameTaken:
    return NameTaken(_t("Registered Model (name=%(name)s) already exists.") % {"name": name})


class RegisteredModel(TagsMixin):
    id = PublicIdField(prefix="model")
    name = models.CharField(_("name"), max_length=256, unique=True)
    description = models.TextField(_("description"), blank=True)
    # Incremented for each new version: numbers are consecutive and never reused after deletion.
    last_number = models.PositiveIntegerField(_("last version"), default=0, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    team = models.ForeignKey(
        Team, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("team")
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
            raise _name_taken(name) from None

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
        number: int | None = None,
    ) -> ModelVersion:
        """Create the next version, or that of ``number``, as of one from another server. If its
        checkpoint has tags, the latest one sets its stage."""
        with transaction.atomic():
            lock_promotions()
            checkpoint = _checkpoint_at(source.file)
            run = source.run or (checkpoint.run if checkpoint else None)
            origin = run or source.logged_model
            version = self.versions.create(
                number=self._take_number(number),
                source=source.uri,
                location=source.location,
                checkpoint=checkpoint,
                run=run,
                project_id=None if origin is None else origin.project_id,
                run_elsewhere=source.run_elsewhere,
                run_link=run_link,
                logged_model=source.logged_model,
                description=description,
                tags=tags,
                created_by=by,
            )
            version.apply_checkpoint_tags()
            if version.logged_model is not None:
                version.logged_model.note_version(self.name, version.number)
        return version

    def _take_number(self, number: int | None) -> int:
        """``number``, or the next. Call inside a transaction: the row lock is held until its end,
        so numbers are unique."""
        last = RegisteredModel.objects.select_for_update(no_key=True).get(pk=self.pk).last_number
        taken = last + 1 if number is None else number
        self._change(last_number=max(last, taken))
        return taken

    def set_alias(self, alias: str, number: int, *, by: User | None) -> None:
        """Point ``alias`` to the version ``number``. An alias in TAG_OF_ALIAS also tags the
        version's checkpoint. Raises ModelVersion.DoesNotExist, NoSingleCheckpoint,
        DemandsLess, and what Artifact.tag raises."""
        with transaction.atomic():
            lock_promotions()
            version = self.versions.get(number=number)
            value = TAG_OF_ALIAS.get(alias)
            if value is TagValue.RELEASED:
                for other in self.aliases.filter(alias=alias).exclude(version=version):
                    other.version.require_to_take_back(by)
            version.check_demands(value, by=by)
            if value is not None and version.checkpoint is not None:
                version.checkpoint.tag(value, notes=version.notes_of(value), by=by)
            self.aliases.update_or_create(alias=alias, defaults={"version": version})

    def delete_alias(self, alias: str, *, by: User | None) -> None:
        """Nothing if there is none. Raises RoleNeeded."""
        with transaction.atomic():
            lock_promotions()
            found = self.aliases.select_related("version__checkpoint__run").filter(alias=alias)
            for row in found:
                if TAG_OF_ALIAS.get(alias) is TagValue.RELEASED:
                    row.version.require_to_take_back(by)
                row.delete()

    def remove(self) -> None:
        """Delete it permanently with its versions. Their source files remain."""
        with transaction.atomic():
            lock_promotions()
            self.delete()

    def _change(self, **fields: object) -> None:
        RegisteredModel.objects.filter(pk=self.pk).update(updated_at=Now(), **fields)
        self.refresh_from_db()


def _checkpoint_at(file: RunFile | None) -> Artifact | None:
    """The checkpoint that the path of ``file`` names, or the only one in that folder; None if there
    are several. Its row is locked, so that it cannot be deleted."""
    if file is None or not file.path:
        return None
    at_path = models.Q(file=file.path) | models.Q(file__startswith=f"{file.path}/")
    checkpoints = list(
        Artifact.objects.checkpoints()
        .filter(at_path, run=file.run_id)
        .select_for_update(no_key=True)
        .order_by("file", "id")[:2]
    )
    # TrainHub's own and an uploaded one may have the same path.
    named = [item for item in checkpoints if item.file == file.path]
    own = own_in_use(file.run_id, [file.path]).get(file.path) if named else None
    if own is not None:
        return own
    if len(named) == 2:
        return next(item for item in named if item.is_uploaded)
    return checkpoints[0] if len(checkpoints) == 1 else None


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> ModelVersionQuerySet:
        """The versions of projects in which ``user`` has ``role``, and those of no project whose
        model belongs to ``user`` or their teams."""
        role = max(role, grant_of(user).needed_role)
        if sees_everything(user, role=role):
            return self.all()
        return self.none() if script_run_of(user) else self.filter(_seen_versions(user, role))

    def released(self) -> ModelVersionQuerySet:
        """Those in Production, or with the alias ``released``."""
        aliases = ModelAlias.objects.filter(
            version=models.OuterRef("pk"), alias=TagValue.RELEASED.slug
        )
        return self.filter(models.Q(stage=Stage.PRODUCTION) | models.Exists(aliases))

    def follow_tag(self, value: TagValue, *, by: User | None) -> None:
        """Apply a tag of these versions' checkpoint: set their stage, and in each model point the
        tag's alias to the newest of them. See Artifact.tag.

        Left out of 发布: models with versions of another project that demands more of it. And its
        alias stays where ``by`` may not take it from."""
        versions = self
        if value is TagValue.RELEASED:
            rows = self.select_related("checkpoint__run")
            versions = self.exclude(pk__in=[row.pk for row in rows if row.demands_less()])
        versions.update(stage=STAGE_OF_TAG[value], updated_at=Now())
        RegisteredModel.objects.filter(versions__in=versions).update(updated_at=Now())
        newest = versions.order_by("model_id", "-number").distinct("model_id")
        for version in newest.select_related("model"):
            aliases = version.model.aliases.select_related("version__checkpoint__run")
            held = aliases.filter(alias=value.slug).first()
            if (
                value is TagValue.RELEASED
                and held is not None
                and not held.version.can_be_taken_back(by)
            ):
                continue
            version.model.aliases.update_or_create(alias=value.slug, defaults={"version": version})


def follow_tag(*, artifact: Artifact, value: TagValue, by: User | None, **_signal: Any) -> None:
    """Receiver of checkpoint_tagged."""
    ModelVersion.objects.filter(checkpoint=artifact).follow_tag(value, by=by)


class ModelVersion(TagsMixin):
    model = models.ForeignKey(
        RegisteredModel, models.CASCADE, related_name="versions", verbose_name=_("model")
    )
    number = models.PositiveIntegerField(_("version"))
    source = models.TextField(_("source"), max_length=2000)
    location = models.TextField(_("location"), max_length=2000)
    # Of its run or logged model: who sees the project sees the version.
    project = models.ForeignKey(
        Project,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="model_versions",
        verbose_name=_("project"),
    )
    run = models.ForeignKey(
        Run,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="model_versions",
        verbose_name=_("run"),
    )
    # The ID of a run that is not here, as of another tracking server.
    run_elsewhere = models.CharField(_("run elsewhere"), max_length=64, blank=True, db_default="")
    run_link = models.TextField(_("run link"), blank=True, max_length=2000)
    logged_model = models.ForeignKey(
        LoggedModel,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="versions",
        verbose_name=_("logged model"),
    )
    # Set if the source is a TrainHub checkpoint, whose tags then determine the stage.
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
        """Set the stage and tag the checkpoint. ``archive_others`` archives the model's other
        versions in that stage. Raises NoSingleCheckpoint, DemandsLess, and what Artifact.tag
        raises."""
        with transaction.atomic():
            lock_promotions()
            if archive_others:
                for other in self._others_in(stage):
                    other._move_to(Stage.ARCHIVED, by=by)
            self._move_to(stage, by=by)
        self.refresh_from_db()

    def _others_in(self, stage: Stage) -> ModelVersionQuerySet:
        """Excludes versions of the same checkpoint: its tags determine their stage too."""
        others = self.model.versions.filter(stage=stage).exclude(pk=self.pk).order_by("checkpoint")
        same_checkpoint = models.Q(checkpoint=self.checkpoint_id, checkpoint__isnull=False)
        return others.exclude(same_checkpoint).select_related("checkpoint")

    def _move_to(self, stage: Stage, *, by: User | None) -> None:
        value = TAG_OF_STAGE.get(stage)
        if stage == Stage.ARCHIVED and self.checkpoint is not None and self.checkpoint.damage:
            value = None  # a damaged checkpoint cannot be tagged, but any version can be shelved
        self.check_demands(value, by=by)
        if value is not None and self.checkpoint is not None:
            self.checkpoint.tag(value, notes=self.notes_of(value), by=by)
        else:
            self.require_to_take_back(by)
            self._change(stage=stage)
            self.model._change()

    def require_to_take_back(self, by: User | None) -> None:
        """Call before a stage or alias of a release is taken from it: what maintainers have
        released, members do not take back. Raises RoleNeeded."""
        checkpoint = self.checkpoint
        if checkpoint is not None:
            if released().filter(pk=checkpoint.pk).exists():
                require_of(by, checkpoint.run.project_id, Role.MAINTAINER)
        elif self.project_id is not None and ModelVersion.objects.released().filter(pk=self.pk):
            require_of(by, self.project_id, Role.MAINTAINER)

    def can_be_taken_back(self, by: User | None) -> bool:
        try:
            self.require_to_take_back(by)
        except RoleNeeded:
            return False
        return True

    def demands_less(self) -> bool:
        """Whether the model has a version of a project that demands more of releases than that of
        this one's checkpoint. A version without a checkpoint can meet no demand."""
        policies = ReleasePolicy.objects.demanding()
        others = policies.filter(project__model_versions__model=self.model_id)
        if self.checkpoint is None:
            return others.exists()
        policy = ReleasePolicy.of(self.checkpoint.run.project_id)
        if policy.needs_approval:
            return False
        return (others.filter(needs_approval=True) if policy.is_demanding else others).exists()

    def check_demands(self, value: TagValue | None, *, by: User | None) -> None:
        """Call before the stage or alias of ``value`` is set. Raises, if it is 发布,
        NoSingleCheckpoint or DemandsLess if ``demands_less``, and RoleNeeded without a checkpoint
        whose tag would raise it."""
        if value is not TagValue.RELEASED:
            return
        if self.demands_less():
            if self.checkpoint is not None:
                raise DemandsLess(
                    Message(
                        "Version %(number)d is of a project that demands less of releases than "
                        "another one whose versions this model has: register it in another model.",
                        number=self.number,
                    )
                )
            raise NoSingleCheckpoint(
                Message(
                    "Version %(number)d is not made of one checkpoint, and the project demands "
                    "that releases be approved or pass gates: register a checkpoint.",
                    number=self.number,
                )
            )
        if self.checkpoint is None and self.project_id is not None:
            require_of(by, self.project_id, Role.MAINTAINER)

    def notes_of(self, value: TagValue) -> str:
        """The existing notes of its checkpoint's tag, since registry clients do not send notes."""
        assert self.checkpoint is not None
        return "".join(tag.notes for tag in self.checkpoint.tags.filter(value=value))

    def apply_checkpoint_tags(self) -> None:
        """Set the stage and aliases from the checkpoint's existing tags. An alias that already
        points to a version does not move."""
        if self.checkpoint is None:
            return
        for tag in self.checkpoint.tags.order_by("applied_at", "id"):
            value = TagValue(tag.value)
            if value is TagValue.RELEASED and self.demands_less():
                continue
            self.stage = STAGE_OF_TAG[value]
            self.model.aliases.get_or_create(alias=value.slug, defaults={"version": self})
        self._change(stage=self.stage)

    def remove(self) -> None:
        """Delete it permanently with its aliases. Its source files and their tags remain."""
        with transaction.atomic():
            lock_promotions()
            self.delete()
            self.model._change()

    def _change(self, **fields: object) -> None:
        ModelVersion.objects.filter(pk=self.pk).update(updated_at=Now(), **fields)
        self.refresh_from_db()


class ModelAlias(models.Model):
    model = models.ForeignKey(RegisteredModel, models.CASCADE, related_name="aliases")
    alias = models.CharField(_("alias"), max_length=255)
    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="aliases")

    class Meta:
        verbose_name = _("model alias")
        verbose_name_plural = _("model aliases")
        ordering = ("alias",)
        constraints = (models.UniqueConstraint(name="modelalias_once", fields=["model", "alias"]),)

    def __str__(self) -> str:
        return f"{self.model}@{self.alias}"
