"""The API of which checkpoints a project keeps, and of what a policy would remove."""

from __future__ import annotations

from math import isfinite
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Role
from accounts.users import user_of
from core.exceptions import InvalidInput
from core.fields import StrictCharField, StrictIntegerField
from core.known_names import KnownFieldsSerializer, NoFieldsSerializer, names_of
from core.messages import Message
from core.text import MAX_KEY_LENGTH
from projects.access_viewsets import ProjectScopedViewSet
from projects.models import Project
from registry.checkpoint_policy import (
    MAX_KEPT,
    MAX_STEPS,
    CheckpointPolicy,
    checked_retention,
    remove_policy,
    set_policy,
)
from registry.checkpoint_retention import Mode, Retention
from registry.retention_preview import Judged, Preview, preview

METRIC_HELP = "Of evaluations, else of the training at the checkpoint's step; it tells the best."


class CheckpointPolicySerializer(serializers.Serializer[Any]):
    in_force = serializers.BooleanField(help_text="false: all checkpoints are kept.")
    metric = StrictCharField(allow_blank=True)
    mode = serializers.ChoiceField(choices=Mode.values)
    best = serializers.IntegerField()
    last = serializers.IntegerField()
    every = serializers.IntegerField()
    changed_by = StrictCharField(allow_null=True)
    changed_at = serializers.DateTimeField(allow_null=True)
    applied_at = serializers.DateTimeField(allow_null=True, help_text="When a worker last did.")
    problem = StrictCharField(allow_blank=True)


class CheckpointPolicyChangeSerializer(KnownFieldsSerializer):
    """At least one of ``best``, ``last`` and ``every`` is not 0. A checkpoint is kept if one of
    them keeps it."""

    metric = StrictCharField(
        max_length=MAX_KEY_LENGTH,
        allow_blank=True,
        required=False,
        default="",
        trim_whitespace=False,
        help_text=METRIC_HELP,
    )
    mode = serializers.ChoiceField(
        choices=Mode.values, required=False, default=Mode.MIN, help_text="Which value is best."
    )
    best = StrictIntegerField(
        min_value=0, max_value=MAX_KEPT, required=False, default=0, help_text="Of each run."
    )
    last = StrictIntegerField(
        min_value=0, max_value=MAX_KEPT, required=False, default=0, help_text="Of each run."
    )
    every = StrictIntegerField(
        min_value=0,
        max_value=MAX_STEPS,
        required=False,
        default=0,
        help_text="Those at steps that are multiples of it.",
    )


class PreviewQuerySerializer(serializers.Serializer[Any]):
    """Rules that are not saved; without any, those of the project's policy."""

    metric = StrictCharField(
        max_length=MAX_KEY_LENGTH, required=False, trim_whitespace=False, help_text=METRIC_HELP
    )
    mode = serializers.ChoiceField(choices=Mode.values, required=False)
    best = serializers.IntegerField(min_value=0, max_value=MAX_KEPT, required=False)
    last = serializers.IntegerField(min_value=0, max_value=MAX_KEPT, required=False)
    every = serializers.IntegerField(min_value=0, max_value=MAX_STEPS, required=False)
    limit = serializers.IntegerField(
        min_value=0,
        max_value=10_000,
        default=1000,
        help_text="Of checkpoints in each list; the counts and bytes are of all.",
    )


class PreviewLimitSerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField(min_value=0, max_value=10_000, default=1000)


class JudgedSerializer(serializers.Serializer[Any]):
    id = StrictCharField()
    run_id = StrictCharField()
    run_name = StrictCharField()
    name = StrictCharField()
    step = serializers.IntegerField(allow_null=True)
    size_bytes = serializers.IntegerField(help_text="Of all its files.")
    value = serializers.FloatField(allow_null=True, help_text="Of the policy's metric.")
    reasons = serializers.ListField(
        child=StrictCharField(), help_text="Why it stays; empty of one that would go."
    )


class PreviewSerializer(serializers.Serializer[Any]):
    removed_count = serializers.IntegerField()
    removed_bytes = serializers.IntegerField()
    kept_count = serializers.IntegerField()
    kept_bytes = serializers.IntegerField()
    removed = JudgedSerializer(many=True)
    kept = JudgedSerializer(many=True)


class CheckpointPolicyViewSet(ProjectScopedViewSet):
    """Which checkpoints a project keeps."""

    serializer_class = CheckpointPolicySerializer
    lookup_url_kwarg = "project_id"  # for OPTIONS
    roles: ClassVar[dict[str, Role]] = {
        "update": Role.MAINTAINER,
        "destroy": Role.MAINTAINER,
        "preview_unsaved": Role.VIEWER,
    }
    parameters: ClassVar[dict[str, list[str]]] = {
        "preview": names_of(PreviewQuerySerializer),
        "preview_unsaved": names_of(PreviewLimitSerializer),
    }

    @extend_schema(
        operation_id="projects_checkpoint_policy_retrieve",
        summary="Tell which checkpoints a project keeps",
        responses=CheckpointPolicySerializer,
    )
    def retrieve(self, request: Request, project_id: str) -> Response:
        return self._answer(self.get_project())

    @extend_schema(
        operation_id="projects_checkpoint_policy_update",
        summary="Set which checkpoints a project keeps",
        description="Maintainers only. Workers move the others to the trash, those of runs that "
        "go on included. What is tagged, registered, resumed from, being evaluated or asked for "
        "stays in any case.",
        request=CheckpointPolicyChangeSerializer,
        responses=CheckpointPolicySerializer,
    )
    def update(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        serializer = CheckpointPolicyChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        set_policy(project, by=user_of(request), **serializer.validated_data)
        return self._answer(project)

    @extend_schema(
        operation_id="projects_checkpoint_policy_destroy",
        summary="Keep all checkpoints of a project",
        description="Maintainers only. What is in the trash stays there.",
        responses={204: None},
    )
    def destroy(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        remove_policy(project, by=user_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _answer(self, project: Project) -> Response:
        policy = CheckpointPolicy.of(project.pk)
        return Response(CheckpointPolicySerializer(_policy_json(policy)).data)

    @extend_schema(
        operation_id="projects_checkpoint_policy_preview_retrieve",
        summary="Tell what a policy would remove",
        description="A dry run of the project's policy, or of rules that are not saved: which "
        "checkpoints would go, with their bytes, and why each other one stays.",
        parameters=[PreviewQuerySerializer],
        responses=PreviewSerializer,
    )
    def preview(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        query = PreviewQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        rules = dict(query.validated_data)
        limit = rules.pop("limit")
        return self._preview(project, self._retention(project, rules), limit)

    @extend_schema(
        operation_id="projects_checkpoint_policy_preview_create",
        summary="Tell what a policy that is not saved would remove",
        parameters=[PreviewLimitSerializer],
        request=CheckpointPolicyChangeSerializer,
        responses={200: PreviewSerializer},
    )
    def preview_unsaved(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        query = PreviewLimitSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        serializer = CheckpointPolicyChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        retention = checked_retention(**serializer.validated_data)
        return self._preview(project, retention, query.validated_data["limit"])

    def _retention(self, project: Project, rules: dict[str, Any]) -> Retention:
        """Raises InvalidInput."""
        if rules:
            return checked_retention(**rules)
        policy = CheckpointPolicy.of(project.pk)
        if policy is None:
            raise InvalidInput(
                Message("The project has no policy: name the best, the last or every.")
            )
        return policy.retention

    def _preview(self, project: Project, retention: Retention, limit: int) -> Response:
        content = _preview_json(preview(project, retention), limit)
        return Response(PreviewSerializer(content).data)


def _policy_json(policy: CheckpointPolicy | None) -> dict[str, Any]:
    known = CheckpointPolicy() if policy is None else policy
    return {
        "in_force": policy is not None,
        "metric": known.metric,
        "mode": known.mode,
        "best": known.best,
        "last": known.last,
        "every": known.every,
        "changed_by": known.changed_by.get_username() if known.changed_by else None,
        "changed_at": known.changed_at,
        "applied_at": known.applied_at,
        "problem": str(known.problem),
    }


def _preview_json(found: Preview, limit: int) -> dict[str, Any]:
    return {
        "removed_count": len(found.removed),
        "removed_bytes": found.removed_bytes,
        "kept_count": len(found.kept),
        "kept_bytes": found.kept_bytes,
        "removed": [_judged_json(item) for item in found.removed[:limit]],
        "kept": [_judged_json(item) for item in found.kept[:limit]],
    }


def _judged_json(item: Judged) -> dict[str, Any]:
    checkpoint = item.checkpoint
    return {
        "id": checkpoint.pk,
        "run_id": checkpoint.run_id,
        "run_name": checkpoint.run_name,
        "name": str(checkpoint.name),
        "step": checkpoint.step,
        "size_bytes": item.size_bytes,
        "value": item.value if item.value is None or isfinite(item.value) else None,
        "reasons": [str(reason) for reason in item.reasons],
    }
