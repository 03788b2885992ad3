"""What a run leaves behind: checkpoints, event files, evaluation results, its configuration, and
any file that its script logs.

TrainHub's own artifacts (a checkpoint that an executor takes in, config.json, tensorboard,
evaluation.json) lie in the storage under their names. A file that a client sends (uploads.py) has a
path of the client's choosing, and its bytes lie under a name that nobody else has: so a path that
is also one of TrainHub's own names another artifact beside it, and neither touches the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import models, transaction
from django.db.models.functions import Now
from django.http import Http404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.permissions import sees_everything
from artifacts.loose_bytes import LooseBytes
from artifacts.paths import beside, folders_of
from artifacts.queries import one_promotion_at_a_time
from artifacts.recognition import checkpoint_folder, is_checkpoint, main_weights_in, step_of
from artifacts.storage import HashingFile, Source, artifact_storage, sha256_of
from runs.models import Run
from trainhub.choices import ContractChoices
from trainhub.exceptions import DomainError, InvalidInput
from trainhub.ids import PublicIdField, new_id
from trainhub.json_field import JSONField

if TYPE_CHECKING:
    from django.core.files.base import File


class ArtifactType(models.TextChoices):
    CHECKPOINT = "checkpoint", _("Checkpoint")
    EVENT = "event", _("TensorBoard events")
    EVALUATION = "evaluation", _("Evaluation result")
    CONFIG = "config", _("Configuration")
    FILE = "file", _("File")

    @property
    def id_prefix(self) -> str:
        shortened = {"checkpoint": "ckpt", "event": "log", "evaluation": "eval", "config": "conf"}
        return shortened.get(self.value, self.value)


class TagValue(ContractChoices):
    CANDIDATE = "候选", _("Candidate")
    RELEASED = "发布", _("Released")
    ARCHIVED = "归档", _("Archived")


FINAL_CHECKPOINT_NAME = "取消前的检查点"  # the contract's name, in every language


class NotACheckpoint(InvalidInput):
    code = "not_a_checkpoint"


class ArtifactGone(DomainError):
    code = "artifact_gone"


class PathTaken(DomainError):
    """A file cannot be a folder too."""

    code = "path_taken"


class InUse(DomainError):
    """Somebody relies on these bytes: a tag, a run resumed from them."""

    code = "artifact_in_use"


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> ArtifactQuerySet:
        """What ``user`` may see. Every member sees every artifact until there are teams."""
        return self.all() if sees_everything(user) else self.none()

    def checkpoints(self) -> ArtifactQuerySet:
        return self.filter(type=ArtifactType.CHECKPOINT)

    def own(self) -> ArtifactQuerySet:
        """TrainHub's own."""
        return self.filter(stored_as="")

    def uploaded(self) -> ArtifactQuerySet:
        """What clients sent."""
        return self.exclude(stored_as="")

    def below(self, folder: str) -> ArtifactQuerySet:
        """Those whose path lies in ``folder``, at any depth; empty for the run's root."""
        return self.filter(file__startswith=f"{folder}/") if folder else self.all()

    def relied_on(self) -> ArtifactQuerySet:
        """Those that somebody relies on: by a tag, a run resumed from them, a registered version.

        Where that must stay so, lock the rows by a statement before: one that waits for a lock
        would not see the tag that it has waited for.
        """
        tagged = models.Q(tags__isnull=False)
        resumed_from = models.Q(resumed_runs__isnull=False)
        registered = models.Q(model_versions__isnull=False)
        return self.filter(tagged | resumed_from | registered).distinct()

    def latest_first(self) -> ArtifactQuerySet:
        """In the order in which one would go on from them: what the run's executor took in before
        what its script logged besides (perhaps weights alone), then the latest step."""
        logged = models.Case(models.When(stored_as="", then=0), default=1)
        return self.order_by(logged, "-step", "-updated_at")

    def for_people(self) -> ArtifactQuerySet:
        """In the order in which pages show them: files, of which there may be thousands, last; the
        latest step first."""
        is_file = models.Case(models.When(type=ArtifactType.FILE, then=1), default=0)
        step = models.F("step").desc(nulls_last=True)
        return self.order_by(is_file, step, "-created_at", "id").prefetch_related(
            "tags__applied_by"
        )

    def kept_at_cancel(self) -> ArtifactQuerySet:
        """The checkpoint that a cancelled run keeps; none if it had none."""
        return self.checkpoints().filter(name=FINAL_CHECKPOINT_NAME)

    def store_checkpoint(self, run: Run, content: IO[bytes], *, step: int, suffix: str) -> Artifact:
        """The state after ``step``; ``suffix`` is the file's ending, e.g. ``.pt``.

        For small content: it is copied here and now. For large one: ``put_checkpoint`` before the
        run's row is locked, ``record_checkpoint`` after.
        """
        stored = put(run, content, type=ArtifactType.CHECKPOINT, file=f"step-{step:08d}{suffix}")
        return self.record_checkpoint(run, stored, step=step)

    def put_checkpoint(
        self, run: Run, content: IO[bytes], *, step: int, version: str, suffix: str
    ) -> StoredFile:
        """Copy the bytes to the storage, under a name of this ``version`` of the step's alone: what
        is recorded of another version stays as it is."""
        file = f"step-{step:08d}-{version}{suffix}"
        return put(run, content, type=ArtifactType.CHECKPOINT, file=file)

    def record_checkpoint(self, run: Run, stored: StoredFile, *, step: int) -> Artifact:
        """Make ``stored`` the run's checkpoint of ``step``. Call with the run's row locked.

        A checkpoint of this step that somebody relies on (a tag, a run resumed from it) never gets
        other bytes: the new ones become a checkpoint beside it. Any other is replaced.
        """
        with transaction.atomic():
            # Locked, so that nobody comes to rely on one between the question and the answer.
            same_step = list(
                self.own()
                .checkpoints()
                .filter(run=run, step=step)
                .select_for_update()
                .order_by("id")
            )
            for artifact in same_step:
                same = artifact.sha256 == stored.sha256
                if same and artifact.is_relied_on() and artifact.problem() is None:
                    artifact._discard(stored)  # its address stays as its readers know it
                    return artifact
                if same or not artifact.is_relied_on():
                    artifact._replace_bytes(stored)
                    return artifact
            type = ArtifactType.CHECKPOINT
            return self._create(run, stored, type=type, name=_checkpoint_name(step), step=step)

    def put_events(self, run: Run, content: IO[bytes]) -> StoredFile:
        return put(run, content, type=ArtifactType.EVENT, file="tensorboard")

    def record_events(self, run: Run, stored: StoredFile) -> Artifact:
        return self._record(run, stored, type=ArtifactType.EVENT, name="TensorBoard 日志")

    def store_evaluation(self, run: Run, content: IO[bytes], *, step: int | None) -> Artifact:
        type = ArtifactType.EVALUATION
        stored = put(run, content, type=type, file="evaluation.json")
        return self._record(run, stored, type=type, name="评估结果", step=step)

    def store_config(self, run: Run, content: IO[bytes]) -> Artifact:
        type = ArtifactType.CONFIG
        stored = put(run, content, type=type, file="config.json")
        return self._record(run, stored, type=type, name="配置文件")

    def _record(
        self,
        run: Run,
        stored: StoredFile,
        *,
        type: ArtifactType,
        name: str,
        step: int | None = None,
    ) -> Artifact:
        """The row of a file that its run writes again and again under one name."""
        artifact = self.own().filter(run=run, file=stored.file).first()
        if artifact is None:
            return self._create(run, stored, type=type, name=name, step=step)
        artifact.step = step
        artifact._replace_bytes(stored)
        return artifact

    def check_path(self, path: str) -> None:
        """Raises PathTaken if ``path`` is a folder of an uploaded file, or lies in one."""
        uploaded = self.uploaded()
        file = uploaded.filter(file__in=folders_of(path)).first()
        if file is not None:
            raise PathTaken(_t("%(file)s is a file: nothing can lie in it.") % {"file": file.file})
        if uploaded.below(path).exists():
            raise PathTaken(_t("%(path)s is a folder.") % {"path": path})

    def record_upload(
        self, run: Run, stored: StoredFile, *, type: ArtifactType | None, step: int | None
    ) -> tuple[Artifact, bool]:
        """Make ``stored`` the run's file of its path; whether that path is new. Call with the
        run's row locked, in a transaction.

        A checkpoint that somebody relies on keeps its bytes: it makes way to a path beside
        (``last.ckpt`` -> ``last@….ckpt``), or, being a folder, refuses. Raises PathTaken, InUse.
        """
        of_run = self.filter(run=run)
        of_run.check_path(stored.file)
        before = of_run.uploaded().filter(file=stored.file).select_for_update().first()
        if type is None:
            type = _recognised(stored.file) if before is None else ArtifactType(before.type)
        if before is not None and before.sha256 != stored.sha256:
            of_run._check_folder(stored.file)
        if before is not None and before.is_relied_on():
            if before.sha256 == stored.sha256:
                return before, False
            before._make_way()
            before = None
        if type == ArtifactType.CHECKPOINT and step is None:
            named = step_of(stored.file)
            step = run.step if named is None else named
        name = _checkpoint_name(step) if type == ArtifactType.CHECKPOINT else stored.name
        if before is not None and before.type == type:
            before.name, before.step = name, step
            if before.sha256 != stored.sha256:
                before.metadata = {}  # it was said of the bytes before
            before._replace_bytes(stored)
            return before, False
        if before is not None:  # its id tells its type: another type is another artifact
            of_run.filter(pk=before.pk).discard()
        return self._create(run, stored, type=type, name=name, step=step), before is None

    def annotate_checkpoint(self, run: Run, file: Artifact, said: dict[str, Any]) -> None:
        """Take down what ``file`` says of the checkpoint in its folder, if there is just one.

        Call with the run's row locked, in a transaction.
        """
        folder = file.file.rpartition("/")[0]
        logged = self.filter(run=run).uploaded().checkpoints().select_for_update().order_by("id")
        beside = [item for item in logged if item.file.rpartition("/")[0] == folder]
        if len(beside) != 1:
            return
        for other in logged:
            other._lose_aliases(said.get("aliases", ()))
        [checkpoint] = [item for item in logged if item.pk == beside[0].pk]
        checkpoint._annotate(said)

    def _check_folder(self, path: str) -> None:
        """Raises InUse if ``path`` lies in a checkpoint's folder that somebody relies on."""
        folder = checkpoint_folder(path)
        if not folder:
            return
        mains = self.uploaded().checkpoints().filter(file__in=main_weights_in(folder))
        mains.lock_unused()

    def lock_unused(self) -> None:
        """Lock these checkpoints, so that nobody comes to rely on one before the transaction ends.

        Raises InUse if somebody does already.
        """
        keys = list(self.select_for_update().order_by("id").values_list("pk", flat=True))
        in_use = Artifact.objects.filter(pk__in=keys).relied_on().order_by("id").first()
        if in_use is not None:
            raise InUse(
                _t("The checkpoint %(id)s is in use: its files stay as they are.")
                % {"id": in_use.pk}
            )

    def discard(self) -> int:
        """Delete these rows, uploaded all of them, and their bytes when that is committed.

        Returns how many there were. Call in a transaction.
        """
        artifacts = list(self.select_related("run").select_for_update(of=("self",)))
        keys = [artifact.storage_key for artifact in artifacts]
        LooseBytes.objects.bulk_create([LooseBytes(key=key) for key in keys])
        self.model.objects.filter(pk__in=[artifact.pk for artifact in artifacts]).delete()
        transaction.on_commit(partial(LooseBytes.objects.drop, keys), robust=True)
        return len(artifacts)

    def _create(
        self, run: Run, stored: StoredFile, *, type: ArtifactType, name: str, step: int | None
    ) -> Artifact:
        return self.create(
            id=new_id(type.id_prefix),
            run=run,
            type=type,
            name=name,
            step=step,
            file=stored.file,
            stored_as=stored.stored_as,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
        )


def _recognised(path: str) -> ArtifactType:
    return ArtifactType.CHECKPOINT if is_checkpoint(path) else ArtifactType.FILE


def _checkpoint_name(step: int | None) -> str:
    return f"第 {step} 步检查点"


@dataclass(frozen=True)
class StoredFile:
    """Bytes that are whole in the storage, and perhaps in no row yet."""

    file: str
    size_bytes: int
    sha256: str
    stored_as: str = ""

    @property
    def name(self) -> str:
        """What people see first of it."""
        return self.file.rpartition("/")[2][:250]


def lock_run(run: Run) -> Run:
    """``run`` as it now is, its row locked until the transaction ends. Raises Http404."""
    try:
        return Run.objects.lock(run.pk)
    except Run.DoesNotExist:  # deleted meanwhile
        raise Http404 from None


def put(
    run: Run, content: Source, *, type: ArtifactType, file: str, stored_as: str = ""
) -> StoredFile:
    """Copy ``content`` to the storage as the run's ``file``, replacing what was there.

    The bytes come first, the row after: it names only bytes that are whole. A crash in between
    leaves bytes without a row, which the next try overwrites; those of an upload, which lie under
    ``stored_as`` instead, are known as LooseBytes.
    """
    source = HashingFile(content)
    artifact_storage().save(storage_key(run, type, file, stored_as), source)
    return StoredFile(file, source.byte_count, source.sha256, stored_as)


def storage_key(run: Run, type: ArtifactType, file: str, stored_as: str = "") -> str:
    """Where the bytes lie below the storage's root.

    TensorBoard reads folders: its address ``…/tensorboard`` is one, and the event file lies in it.
    """
    suffix = f"/{events_file(run.pk)}" if type == ArtifactType.EVENT and not stored_as else ""
    return f"{run.project_id}/{run.pk}/{stored_as or file}{suffix}"


def root_of(run: Run) -> str:
    """What the addresses of a run's artifacts begin with, in the contract's words."""
    return f"s3://{settings.ARTIFACTS_BUCKET}/{run.project_id}/{run.pk}"


def events_file(run_id: str) -> str:
    return f"events.out.tfevents.{run_id}"


class Artifact(models.Model):
    id = PublicIdField()
    run = models.ForeignKey(Run, models.CASCADE, related_name="artifacts", verbose_name=_("run"))
    type = models.CharField(_("type"), max_length=16, choices=ArtifactType)
    name = models.CharField(_("name"), max_length=250)
    # Of TrainHub's own, its name; of an uploaded one, its path within the run.
    # In byte order, so that the index of paths also finds what lies in a folder.
    file = models.CharField(_("file"), max_length=500, db_collation="C")
    # Where an uploaded file's bytes lie below the run's folder; empty for TrainHub's own.
    stored_as = models.CharField(max_length=64, blank=True, editable=False)
    step = models.BigIntegerField(_("step"), null=True, blank=True)
    # Of a checkpoint, what its logger wrote beside it: see annotations.py.
    metadata = JSONField(_("metadata"), default=dict, blank=True, editable=False)
    size_bytes = models.BigIntegerField(_("size (bytes)"))
    sha256 = models.CharField("SHA-256", max_length=64)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = ArtifactQuerySet.as_manager()

    CONTENT_TYPES: ClassVar[dict[str, str]] = {
        ArtifactType.CONFIG: "application/json",
        ArtifactType.EVALUATION: "application/json",
    }

    class Meta:
        verbose_name = _("artifact")
        verbose_name_plural = _("artifacts")
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(
                name="artifact_run_file",
                fields=["run", "file"],
                condition=models.Q(stored_as=""),
            ),
            models.UniqueConstraint(
                name="artifact_run_upload",
                fields=["run", "file"],
                condition=~models.Q(stored_as=""),
            ),
            models.CheckConstraint(
                name="artifact_type_known", condition=models.Q(type__in=ArtifactType.values)
            ),
            models.CheckConstraint(
                name="artifact_size_not_negative", condition=models.Q(size_bytes__gte=0)
            ),
        )
        indexes = (
            # A run's latest checkpoint: resume, cancel, recovery.
            models.Index(
                fields=["run", "-step"],
                name="artifact_checkpoints",
                condition=models.Q(type=ArtifactType.CHECKPOINT),
            ),
            # The admin's list.
            models.Index(fields=["-created_at", "id"], name="artifact_newest_first"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def path(self) -> str:
        """The address the contract shows; the bytes lie where the storage keeps them."""
        file = f"files/{self.file}" if self.is_uploaded else self.file
        return f"{root_of(self.run)}/{file}"

    @property
    def storage_key(self) -> str:
        return storage_key(self.run, ArtifactType(self.type), self.file, self.stored_as)

    @property
    def tree_path(self) -> str:
        """Its path among the run's files, as clients list them."""
        is_folder = self.type == ArtifactType.EVENT and not self.is_uploaded
        return f"{self.file}/{events_file(self.run_id)}" if is_folder else self.file

    @property
    def file_name(self) -> str:
        return self.tree_path.rpartition("/")[2]

    @property
    def is_uploaded(self) -> bool:
        return self.stored_as != ""

    @property
    def folder(self) -> str:
        """Of a checkpoint that is a whole folder of uploaded files, that folder; else empty."""
        if not (self.is_checkpoint and self.is_uploaded):
            return ""
        folder = checkpoint_folder(self.file)
        return folder if self.file in main_weights_in(folder) else ""

    def parts(self) -> Iterable[Artifact]:
        """All files of a checkpoint that is a folder; otherwise this one."""
        if not self.folder:
            return [self]
        of_run = Artifact.objects.filter(run=self.run_id).select_related("run")
        return of_run.uploaded().below(self.folder).order_by("file")

    @property
    def content_type(self) -> str:
        return self.CONTENT_TYPES.get(self.type, "application/octet-stream")

    @property
    def is_checkpoint(self) -> bool:
        return self.type == ArtifactType.CHECKPOINT

    def open(self) -> File[Any]:
        return artifact_storage().open(self.storage_key, "rb")

    def is_relied_on(self) -> bool:
        return Artifact.objects.filter(pk=self.pk).relied_on().exists()

    def _replace_bytes(self, stored: StoredFile) -> None:
        """Point to ``stored``; the bytes it pointed to go when that is committed."""
        superseded = self.storage_key
        self.file = stored.file
        self.stored_as = stored.stored_as
        self.size_bytes = stored.size_bytes
        self.sha256 = stored.sha256
        self.save(
            update_fields=[
                "name",
                "metadata",
                "file",
                "stored_as",
                "step",
                "size_bytes",
                "sha256",
                "updated_at",
            ]
        )
        if self.is_uploaded:
            LooseBytes.objects.create(key=superseded)
            transaction.on_commit(partial(LooseBytes.objects.drop, [superseded]), robust=True)
        elif superseded != self.storage_key:
            transaction.on_commit(partial(artifact_storage().delete, superseded))

    def _lose_aliases(self, aliases: Iterable[str]) -> None:
        """Another checkpoint has them now."""
        had = self.metadata.get("aliases", [])
        kept = [alias for alias in had if alias not in aliases]
        if kept != had:
            self.metadata = {**self.metadata, "aliases": kept}
            self.save(update_fields=["metadata", "updated_at"])

    def _annotate(self, said: dict[str, Any]) -> None:
        step = said.get("step")
        if step is not None and step_of(self.file) is None:
            self.step = step
            self.name = _checkpoint_name(step)
        told = {key: value for key, value in said.items() if key != "step"}
        self.metadata = {**self.metadata, **told}
        self.save(update_fields=["name", "step", "metadata", "updated_at"])

    def _make_way(self) -> None:
        """Leave its path to another file; id, bytes and tags stay. Raises InUse."""
        path = beside(self.file, self.pk.rpartition("_")[2])
        if path is None:
            raise InUse(
                _t("The checkpoint %(id)s is in use: its files stay as they are.") % {"id": self.pk}
            )
        self.file = path
        self.save(update_fields=["file", "updated_at"])

    def _discard(self, stored: StoredFile) -> None:
        """Drop ``stored``, bytes of TrainHub's own, when that is committed."""
        if stored.file != self.file:
            key = storage_key(self.run, ArtifactType(self.type), stored.file)
            transaction.on_commit(partial(artifact_storage().delete, key))

    def problem(self) -> str | None:
        """Read the stored bytes again: how they differ from what was recorded, None if not."""
        for part in self.parts():
            problem = part._problem()
            if problem is not None:
                return problem
        return None

    def _problem(self) -> str | None:
        try:
            sha256, size_bytes = sha256_of(self.storage_key)
        except FileNotFoundError:
            return "the bytes are gone"
        if size_bytes != self.size_bytes:
            return f"{size_bytes} bytes are stored, {self.size_bytes} were recorded"
        return None if sha256 == self.sha256 else "its sha256 is not the recorded one"

    def lock(self) -> None:
        """Keep it as it is until the transaction ends. Raises ArtifactGone."""
        if not Artifact.objects.select_for_update(no_key=True).filter(pk=self.pk).exists():
            raise ArtifactGone(_t("%(id)s was deleted meanwhile.") % {"id": self.pk})

    def name_final(self) -> None:
        """Name it as the checkpoint that a cancelled run keeps."""
        self.name = FINAL_CHECKPOINT_NAME
        self.save(update_fields=["name", "updated_at"])

    def tag(self, value: TagValue, *, notes: str, by: User | None) -> ArtifactTag:
        """Mark a checkpoint; the same value again updates notes, time and author."""
        if not self.is_checkpoint:
            raise NotACheckpoint(_t("Only checkpoints can be tagged."))
        with transaction.atomic():
            one_promotion_at_a_time()
            # The bytes that are tagged stay: see record_checkpoint.
            self.lock()
            tag, _created = ArtifactTag.objects.update_or_create(
                artifact=self,
                value=value,
                defaults={"notes": notes, "applied_by": by, "applied_at": Now()},
            )
            self.model_versions.follow_tag(value)
        tag.refresh_from_db()
        return tag


class ArtifactTag(models.Model):
    artifact = models.ForeignKey(Artifact, models.CASCADE, related_name="tags")
    value = models.CharField(_("tag"), max_length=8, choices=TagValue)
    notes = models.TextField(_("notes"), blank=True, max_length=10_000)
    applied_at = models.DateTimeField(_("applied at"), auto_now_add=True)
    applied_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, verbose_name=_("by")
    )

    class Meta:
        verbose_name = _("artifact tag")
        verbose_name_plural = _("artifact tags")
        ordering = ("applied_at", "id")
        constraints = (
            models.UniqueConstraint(name="artifacttag_once", fields=["artifact", "value"]),
            models.CheckConstraint(
                name="artifacttag_value_known", condition=models.Q(value__in=TagValue.values)
            ),
        )
        indexes = (
            # "Runs with a checkpoint of this tag": the filter of a project's runs.
            models.Index(fields=["value", "artifact"], name="artifacttag_by_value"),
        )

    def __str__(self) -> str:
        return self.value


# Django finds models here alone.
from artifacts import logged_models, registry  # noqa: E402, F401
