"""The admin of artifacts: read-only, with actions that tag checkpoints."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.kinds import TagValue
from artifacts.models import Artifact, ArtifactTag
from artifacts.storage_quotas import StorageQuota
from core.admin import LargeTableAdmin, ReadOnlyAdmin, ReadOnlyInline, act_on_each
from runs.admin.links import run_link


class TagActionForm(ActionForm):
    notes = forms.CharField(label=_("Tag notes:"), required=False, max_length=10_000)


class TagFilter(admin.SimpleListFilter):
    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value.value, value.label) for value in TagValue]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Artifact]) -> QuerySet[Artifact]:
        if self.value() not in TagValue.values:
            return queryset
        tagged = ArtifactTag.objects.filter(value=self.value()).values("artifact")
        return queryset.filter(pk__in=tagged)


class ArtifactTagInline(ReadOnlyInline):
    model = ArtifactTag
    fields = ("value", "notes", "applied_at", "applied_by")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[ArtifactTag]:
        return super().get_queryset(request).select_related("applied_by")


@admin.register(Artifact)
class ArtifactAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "type", "of_run", "step", "size", "tagged", "created_at")
    list_filter = ("type", TagFilter, "created_at")
    ordering = ("-created_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {
        "run_": "run__id__startswith",
        "proj_": "run__project__id__exact",
        **{f"{prefix}_": "pk__startswith" for prefix in ("ckpt", "log", "eval", "conf", "file")},
    }
    search_help_text = _("Search by artifact or run ID or the start of it, or by project ID.")
    inlines = (ArtifactTagInline,)
    action_form = TagActionForm
    actions = ("tag_candidate", "tag_released", "tag_archived")
    fields = (
        "id",
        "name",
        "type",
        "of_run",
        "step",
        "path",
        "size",
        "size_bytes",
        "sha256",
        "created_at",
        "updated_at",
    )

    def view_on_site(self, artifact: Artifact) -> str:
        return reverse("dashboard:run", args=[artifact.run.project_id, artifact.run_id])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Artifact]:
        return super().get_queryset(request).prefetch_related("tags")

    @admin.display(description=_("run"))
    def of_run(self, artifact: Artifact) -> SafeString:
        return run_link(artifact.run_id)

    @admin.display(description=_("size"))
    def size(self, artifact: Artifact) -> str:
        return filesizeformat(artifact.size_bytes)

    @admin.display(description=_("tags"))
    def tagged(self, artifact: Artifact) -> str:
        return ", ".join(tag.get_value_display() for tag in artifact.tags.all())

    @admin.action(description=_("Tag as candidate"), permissions=["operate"])
    def tag_candidate(self, request: HttpRequest, artifacts: QuerySet[Artifact]) -> None:
        self._tag(request, artifacts, TagValue.CANDIDATE)

    @admin.action(description=_("Tag as released"), permissions=["operate"])
    def tag_released(self, request: HttpRequest, artifacts: QuerySet[Artifact]) -> None:
        self._tag(request, artifacts, TagValue.RELEASED)

    @admin.action(description=_("Tag as archived"), permissions=["operate"])
    def tag_archived(self, request: HttpRequest, artifacts: QuerySet[Artifact]) -> None:
        self._tag(request, artifacts, TagValue.ARCHIVED)

    def _tag(self, request: HttpRequest, artifacts: QuerySet[Artifact], value: TagValue) -> None:
        assert request.user.is_authenticated
        by = request.user
        new_notes = request.POST.get("notes", "").replace("\x00", "").strip()[:10_000]

        def tag(artifact: Artifact) -> None:
            # An empty form field keeps the existing notes.
            old_notes = [tag.notes for tag in artifact.tags.all() if tag.value == value]
            artifact.tag(value, notes=new_notes or "".join(old_notes), by=by)

        act_on_each(self, request, artifacts, tag, done=value.label)


@admin.register(StorageQuota)
class StorageQuotaAdmin(LargeTableAdmin):
    list_display = ("id", "project", "owner", "at_most")
    list_select_related = ("project",)
    ordering = ("id",)
    raw_id_fields = ("project",)
    word_lookups = ("owner__icontains", "project__name__icontains")

    @admin.display(description=_("at most"))
    def at_most(self, quota: StorageQuota) -> str:
        return filesizeformat(quota.max_bytes)


@admin.register(CheckpointDeletion)
class CheckpointDeletionAdmin(ReadOnlyAdmin):
    list_display = ("checkpoint_key", "name", "project_id", "run_name", "size", "state_label")
    list_filter = ("by_policy", "trashed_at")
    ordering = ("-trashed_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {
        "run_": "run__id__startswith",
        "proj_": "project__id__exact",
        "ckpt_": "checkpoint_key__startswith",
        "del_": "pk__startswith",
    }

    @admin.display(description=_("size"))
    def size(self, deletion: CheckpointDeletion) -> str:
        return filesizeformat(deletion.size_bytes)
