"""GET /storage: how many bytes are stored, by run, project or owner."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from artifacts.serializers import StorageQuerySerializer, StorageReportSerializer
from artifacts.storage_use import storage_report
from artifacts.storage_use_queries import StorageGrouping
from core.known_names import KnownParametersMixin, names_of
from projects.access import visible_project
from projects.sight import Sight


class StorageView(KnownParametersMixin, APIView):
    """What artifacts use of the storage."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["artifacts"]
    parameters: ClassVar[dict[str, list[str]]] = {"get": names_of(StorageQuerySerializer)}

    @extend_schema(
        operation_id="storage",
        summary="Tell what artifacts use of the storage",
        description="In bytes, by run, project or owner, of the projects that the caller sees; the "
        "largest come first. Checkpoints in the trash are counted until their bytes are deleted.",
        parameters=[StorageQuerySerializer],
        responses=StorageReportSerializer,
    )
    def get(self, request: Request) -> Response:
        query = StorageQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        project_id = asked.get("project_id")
        if project_id is not None:
            visible_project(request.user, project_id)
        found = storage_report(
            StorageGrouping(asked["group_by"]),
            sight=Sight.of(request.user),
            project_id=project_id,
            limit=asked["limit"],
        )
        return Response(StorageReportSerializer(found).data)
