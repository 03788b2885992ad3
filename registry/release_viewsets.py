"""The API of releases: tags, gates, requests, and what a project demands."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.roles import Role
from accounts.users import user_of
from artifacts import examples
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from artifacts.serializers import ArtifactSerializer, TagWriteSerializer
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, names_of
from core.pagination import LinkHeaderPagination, PageQuery
from projects.access import visible_project
from projects.access_viewsets import ProjectScopedViewSet
from registry import approval
from registry.release_gates import check
from registry.release_policy import ReleasePolicy, change_policy
from registry.release_requests import ReleaseRequest, ReleaseRequestQuerySet, RequestState
from registry.serializers import (
    AskSerializer,
    DecisionSerializer,
    GateListSerializer,
    PolicyChangeSerializer,
    PolicySerializer,
    ReleaseRequestSerializer,
    RequestQuerySerializer,
)

OF_ARTIFACT = [
    OpenApiParameter(name, {"type": "string", "pattern": f"^{ID_PATTERN}$"}, OpenApiParameter.PATH)
    for name in ("project_id", "run_id", "id")
]


class OfArtifactView(KnownParametersMixin, APIView):
    schema_tags: ClassVar[list[str]] = ["artifacts"]

    def get_artifact(self) -> Artifact:
        visible = Artifact.objects.visible_to(self.request.user)
        return get_object_or_404(
            visible.select_related("run__project", "run__created_by").prefetch_related("tags"),
            pk=self.kwargs["id"],
            run=self.kwargs["run_id"],
            run__project=self.kwargs["project_id"],
        )


class TagView(OfArtifactView):
    """The tags of a checkpoint."""

    for_scripts = False

    @extend_schema(
        operation_id="projects_runs_artifacts_tag_create",
        summary="Tag a checkpoint (为工件打标签)",
        description="Setting the same tag again updates its notes. A damaged checkpoint is refused "
        "(`damaged_checkpoint`). In a project that demands that releases be approved, 发布 records "
        "a request and answers 202; members may ask. Gates that are not passed are a 409 "
        "(`gates_not_passed`).",
        parameters=OF_ARTIFACT,
        request=TagWriteSerializer,
        responses={
            200: OpenApiResponse(
                ArtifactSerializer,
                description="The checkpoint with its tags.",
                examples=[OpenApiExample("为工件打标签", examples.TAGGED, status_codes=["200"])],
            ),
            202: OpenApiResponse(
                ReleaseRequestSerializer, description="Approval is asked for: the request."
            ),
        },
        examples=[OpenApiExample("为工件打标签", examples.TAG, request_only=True)],
    )
    def post(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        artifact = self.get_artifact()
        serializer = TagWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given, by = serializer.validated_data, user_of(request)
        try:
            approval.tag_or_ask(artifact, TagValue(given["tag"]), notes=given["notes"], by=by)
        except approval.ApprovalAsked as asked:
            content = ReleaseRequestSerializer(asked.request).data
            return Response(content, status=status.HTTP_202_ACCEPTED)
        return Response(ArtifactSerializer(self.get_artifact()).data)


class GateView(OfArtifactView):
    """The gates of a checkpoint."""

    @extend_schema(
        operation_id="projects_runs_artifacts_gates_retrieve",
        summary="Tell whether a checkpoint passes the project's gates",
        description="404 for an artifact that is not a checkpoint.",
        parameters=OF_ARTIFACT,
        responses=GateListSerializer,
    )
    def get(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        artifact = self.get_artifact()
        if not artifact.is_checkpoint:
            raise Http404
        results = check(artifact, ReleasePolicy.of(project_id).gates)
        items = [
            {"gate": str(result.gate.title), "passed": result.passed, "why": str(result.why)}
            for result in results
        ]
        return Response({"items": items})


class ReleasePolicyViewSet(ProjectScopedViewSet):
    """What a project demands of releases."""

    serializer_class = PolicySerializer

    @extend_schema(
        operation_id="projects_release_policy_retrieve",
        summary="Tell what releases of a project need",
        responses=PolicySerializer,
    )
    def retrieve(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        return Response(PolicySerializer(ReleasePolicy.of(project.pk)).data)

    @extend_schema(
        operation_id="projects_release_policy_partial_update",
        summary="Change what releases of a project need",
        description="Owners only. What is not sent stays.",
        request=PolicyChangeSerializer,
        responses=PolicySerializer,
    )
    def partial_update(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        serializer = PolicyChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        policy = change_policy(project, by=user_of(request), **serializer.validated_data)
        return Response(PolicySerializer(policy).data)


class ReleaseRequestViewSet(
    KnownParametersMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[ReleaseRequest],
):
    """Requests for releases, and what was decided."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["releases"]
    roles: ClassVar[dict[str, Role]] = {"approve": Role.MAINTAINER, "refuse": Role.MAINTAINER}
    queryset = ReleaseRequest.objects.none()
    serializer_class = ReleaseRequestSerializer
    pagination_class = LinkHeaderPagination
    filter_backends = ()
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN
    parameters: ClassVar[dict[str, list[str]]] = {
        "list": names_of(PageQuery, RequestQuerySerializer)
    }

    def get_queryset(self) -> ReleaseRequestQuerySet:
        visible = ReleaseRequest.objects.visible_to(self.request.user)
        return visible.filter(project=self.kwargs["project_id"]).with_people()

    @extend_schema(
        summary="List a project's requests for releases",
        description="All of them, newest first; or one page, with Link and X-Total-Count headers.",
        parameters=[RequestQuerySerializer],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        visible_project(request.user, self.kwargs["project_id"])  # 404, not an empty list
        query = RequestQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        requests = self.get_queryset()
        if state := query.validated_data.get("state"):
            requests = requests.in_state(RequestState(state))
        page = self.paginate_queryset(requests)
        if page is None:
            return Response(ReleaseRequestSerializer(requests, many=True).data)
        return self.get_paginated_response(ReleaseRequestSerializer(page, many=True).data)

    @extend_schema(
        summary="Ask for the release of a checkpoint",
        description="Members may ask. A request that is open already is returned as it is.",
        request=AskSerializer,
        responses={201: ReleaseRequestSerializer},
    )
    def create(self, request: Request, project_id: str) -> Response:
        serializer = AskSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = dict(serializer.validated_data)
        visible = Artifact.objects.visible_to(request.user).filter(run__project=project_id)
        checkpoint = get_object_or_404(
            visible.select_related("run__project"), pk=given.pop("checkpoint_id")
        )
        asked = approval.ask(checkpoint, by=user_of(request), **given)
        return self._answer(asked, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Approve a release",
        description="A maintainer other than the asker. The gates are checked, bytes are read if "
        "a gate demands it, and the checkpoint is tagged 发布.",
        request=DecisionSerializer,
        responses=ReleaseRequestSerializer,
    )
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, project_id: str, id: str) -> Response:
        found, notes = self._decision(request)
        return self._answer(approval.approve(found, notes=notes, by=user_of(request)))

    @extend_schema(
        summary="Refuse a release",
        description="A maintainer other than the asker.",
        request=DecisionSerializer,
        responses=ReleaseRequestSerializer,
    )
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, project_id: str, id: str) -> Response:
        found, notes = self._decision(request)
        return self._answer(approval.refuse(found, notes=notes, by=user_of(request)))

    @extend_schema(
        summary="Withdraw a request for a release",
        description="Only who has asked.",
        request=DecisionSerializer,
        responses=ReleaseRequestSerializer,
    )
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, project_id: str, id: str) -> Response:
        found, notes = self._decision(request)
        return self._answer(approval.withdraw(found, notes=notes, by=user_of(request)))

    def _decision(self, request: Request) -> tuple[ReleaseRequest, str]:
        """Raises Http404."""
        found = self.get_object()
        serializer = DecisionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return found, serializer.validated_data["notes"]

    def _answer(self, request: ReleaseRequest, code: int = status.HTTP_200_OK) -> Response:
        return Response(ReleaseRequestSerializer(request).data, status=code)
