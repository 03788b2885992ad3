"""The API of sweeps."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.users import user_of
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, NoFieldsSerializer, names_of
from core.pagination import LinkHeaderPagination, PageQuery
from projects.access import visible_project
from projects.models import Project
from sweeps import actions, examples
from sweeps.models import Sweep, SweepQuerySet
from sweeps.serializers import (
    SweepDetailSerializer,
    SweepSummarySerializer,
    SweepWriteSerializer,
)


@extend_schema_view(
    list=extend_schema(
        summary="List a project's sweeps",
        description="All of them, newest first; or one page, with Link and X-Total-Count headers.",
    ),
    retrieve=extend_schema(
        summary="Get a sweep",
        description="With its trials, each of which is a run, and the best of them.",
    ),
)
class SweepViewSet(
    KnownParametersMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Sweep],
):
    """The hyperparameter sweeps of a project."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["sweeps"]
    queryset = Sweep.objects.none()
    serializer_class = SweepDetailSerializer
    pagination_class = LinkHeaderPagination
    filter_backends = ()
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN
    parameters: ClassVar[dict[str, list[str]]] = {"list": names_of(PageQuery)}

    def get_queryset(self) -> SweepQuerySet:
        visible = Sweep.objects.visible_to(self.request.user)
        return visible.filter(project=self.kwargs["project_id"]).select_related("created_by")

    def get_serializer_class(self) -> Any:
        return SweepSummarySerializer if self.action == "list" else SweepDetailSerializer

    def get_project(self) -> Project:
        return visible_project(self.request.user, self.kwargs["project_id"])

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.get_project()  # 404 for an unknown project, not an empty list
        return super().list(request, *args, **kwargs)

    @extend_schema(
        summary="Create a sweep (创建超参数搜索)",
        description="Workers begin its first runs at once: Optuna suggests their hyperparameters, "
        "and with ASHA those that do badly are cancelled early, each with its checkpoint.",
        request=SweepWriteSerializer,
        responses={201: OpenApiResponse(SweepDetailSerializer, description="In progress.")},
        examples=[OpenApiExample("Create", examples.SWEEP_CREATE, request_only=True)],
    )
    def create(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        serializer = SweepWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        sweep = actions.create_sweep(project, by=user_of(request), **serializer.arguments)
        return self._answer(sweep, status.HTTP_201_CREATED)

    @extend_schema(
        summary="Cancel a sweep",
        description="It ends, and its runs are asked to stop, each with its checkpoint. "
        "Idempotent.",
        request=None,
        responses=SweepDetailSerializer,
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, project_id: str, id: str) -> Response:
        sweep = self._found(request)
        return self._answer(actions.cancel_sweep(sweep, by=user_of(request)))

    @extend_schema(
        summary="Pause a sweep",
        description="It begins no more runs until it is continued; those that have begun go on. "
        "Idempotent.",
        request=None,
        responses=SweepDetailSerializer,
    )
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, project_id: str, id: str) -> Response:
        return self._answer(actions.pause_sweep(self._found(request)))

    @extend_schema(
        summary="Continue a paused sweep",
        description="Also one that TrainHub has paused, as its reason says.",
        request=None,
        responses=SweepDetailSerializer,
    )
    @action(detail=True, methods=["post"], url_path="continue", url_name="continue")
    def continue_paused(self, request: Request, project_id: str, id: str) -> Response:
        return self._answer(actions.continue_sweep(self._found(request)))

    def _found(self, request: Request) -> Sweep:
        """The sweep that a request without fields is for. Raises Http404."""
        sweep = self.get_object()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        return sweep

    def _answer(self, sweep: Sweep, code: int = status.HTTP_200_OK) -> Response:
        return Response(SweepDetailSerializer(sweep).data, status=code)
