"""The code that a run brings along: a bundle of files, stored once by what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from core.json_field import JSONField
from projects.models import Project

if TYPE_CHECKING:
    from runs.models.run import Run

SHA256_PATTERN = r"[0-9a-f]{64}"


class CodeBundleQuerySet(models.QuerySet["CodeBundle"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> CodeBundleQuerySet:
        """The bundles of runs of projects in which ``user`` has ``role``, and those that they have
        uploaded: bundles are stored once, so to know one's hash is not to have it."""
        if sees_everything(user, role=role):
            return self.all()
        projects = Project.objects.visible_to(user, role=role)
        of_runs = RunCode.objects.filter(bundle=models.OuterRef("pk"), run__project__in=projects)
        if script_run_of(user):
            return self.filter(models.Exists(of_runs))
        own = CodeUpload.objects.filter(bundle=models.OuterRef("pk"), user=user.pk)
        return self.filter(models.Exists(of_runs) | models.Exists(own))


class CodeBundle(models.Model):
    """A folder of code as one archive in the storage. Its key is the hash of its files, not of the
    archive: see code_bundles/manifest.py."""

    sha256 = models.CharField(
        "SHA-256",
        max_length=64,
        primary_key=True,
        db_collation="C",
        validators=[RegexValidator(rf"\A{SHA256_PATTERN}\Z")],
    )
    stored_as = models.CharField(max_length=200, unique=True, editable=False)  # in the storage
    archive_sha256 = models.CharField(max_length=64, editable=False)
    size_bytes = models.BigIntegerField(_("size (bytes)"))  # of the archive
    unpacked_bytes = models.BigIntegerField()
    file_count = models.PositiveIntegerField()
    # [path, kind, size in bytes, sha256] of each file, by path. Possibly a megabyte: defer it.
    files = JSONField(default=list, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    # When it was last uploaded: what no run refers to is deleted some days later.
    used_at = models.DateTimeField(db_default=Now(), db_index=True)

    objects = CodeBundleQuerySet.as_manager()

    class Meta:
        verbose_name = _("code bundle")
        verbose_name_plural = _("code bundles")

    def __str__(self) -> str:
        return self.sha256[:12]


class CodeUpload(models.Model):
    """That a user has brought a bundle, also one that was stored already."""

    bundle = models.ForeignKey(
        CodeBundle, models.CASCADE, related_name="uploads", verbose_name=_("code bundle")
    )
    user = models.ForeignKey(User, models.CASCADE, related_name="+", verbose_name=_("user"))
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        verbose_name = _("code upload")
        verbose_name_plural = _("code uploads")
        constraints = (models.UniqueConstraint(name="codeupload_once", fields=["bundle", "user"]),)

    def __str__(self) -> str:
        return f"{self.bundle_id}: {self.user_id}"


class RunCode(models.Model):
    """Which code a run has, and where that came from. It stays with the run: a bundle is kept as
    long as a run refers to it."""

    run = models.OneToOneField("runs.Run", models.CASCADE, primary_key=True, related_name="code")
    # None until a worker has fetched it, of a revision of a Git repository.
    bundle = models.ForeignKey(
        CodeBundle, models.PROTECT, null=True, blank=True, related_name="run_codes"
    )
    # Of a repository: git_url, revision, commit. Of a folder, what the client says of the working
    # tree that it was packed from: commit, dirty, remote, branch, untracked.
    origin = JSONField(default=dict, editable=False)
    # What the working tree changed, as `git diff HEAD` prints it; empty if nothing or unknown.
    patch = models.TextField(blank=True, editable=False)

    class Meta:
        verbose_name = _("code of a run")
        verbose_name_plural = _("code of runs")

    def __str__(self) -> str:
        return f"{self.run_id}: {self.bundle_id or self.origin.get('git_url', '')}"

    @classmethod
    def of(cls, run: Run) -> RunCode | None:
        return cls.objects.filter(run=run).first()

    @property
    def commit(self) -> str:
        commit: str = self.origin.get("commit") or ""
        return commit

    def as_json(self) -> dict[str, Any]:
        """As the run's detail has it."""
        return code_json(self.bundle_id, self.origin)


def code_json(sha256: str | None, origin: dict[str, Any]) -> dict[str, Any]:
    """As the run's detail has it."""
    return {
        "sha256": sha256,
        "git_url": origin.get("git_url"),
        "revision": origin.get("revision"),
        "commit": origin.get("commit"),
        "branch": origin.get("branch"),
        "remote": origin.get("remote"),
        "dirty": origin.get("dirty"),
        "untracked": origin.get("untracked", []),
    }
