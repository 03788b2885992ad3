"""The API of who may see a project, and of tokens, which may be limited to one."""

from __future__ import annotations

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.issuing import issue_token, revoke, tokens_managed_by
from accounts.models import Team, Token
from accounts.models.token import TokenQuerySet
from accounts.roles import Role, Scope
from accounts.serializers import (
    IssuedTokenSerializer,
    MemberSerializer,
    MemberWriteSerializer,
    TokenSerializer,
    TokenWriteSerializer,
)
from accounts.users import user_of
from accounts.viewsets import USERNAME_PATTERN, find_user
from core.exceptions import InvalidInput
from core.fields import StrictCharField
from core.ids import ID_PATTERN
from core.known_names import KnownFieldsSerializer, KnownParametersMixin
from projects import membership
from projects.access import visible_project
from projects.models import Project


class AccessSerializer(serializers.Serializer[Any]):
    """Who may see the project: the members of its team, and others with a role of their own."""

    team = StrictCharField(allow_null=True, help_text="The id of the team that owns it.")
    your_role = StrictCharField()
    members = MemberSerializer(many=True)


class AccessChangeSerializer(KnownFieldsSerializer):
    team = StrictCharField(allow_null=True, max_length=32, help_text="null: no team.")


class ProjectScopedViewSet(KnownParametersMixin, GenericViewSet[Project]):
    """Only owners change it: see roles."""

    queryset = Project.objects.none()
    schema_tags: ClassVar[list[str]] = ["projects"]
    roles: ClassVar[dict[str, Role]] = {
        "update": Role.OWNER,
        "partial_update": Role.OWNER,
        "destroy": Role.OWNER,
    }
    filter_backends = ()
    pagination_class: Any = None
    for_scripts = False

    def get_project(self) -> Project:
        return visible_project(self.request.user, self.kwargs["project_id"])


class AccessViewSet(ProjectScopedViewSet):
    """Who may see a project."""

    serializer_class = AccessSerializer

    @extend_schema(
        operation_id="projects_access_retrieve",
        summary="Tell who may see a project",
        responses=AccessSerializer,
    )
    def retrieve(self, request: Request, project_id: str) -> Response:
        return Response(self._content(self.get_project()))

    @extend_schema(
        operation_id="projects_access_partial_update",
        summary="Give a project to a team",
        request=AccessChangeSerializer,
        responses=AccessSerializer,
    )
    def partial_update(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        serializer = AccessChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        team_id = serializer.validated_data["team"]
        team = None
        if team_id is not None:
            teams = Team.objects.visible_to(request.user) | Team.objects.filter(pk=project.team_id)
            team = teams.filter(pk=team_id).first()
            if team is None:
                raise InvalidInput(_("You are in no such team."), attr="team")
        membership.give_to_team(project, team)
        return Response(self._content(project))

    def _content(self, project: Project) -> dict[str, Any]:
        return dict(
            AccessSerializer(
                {
                    "team": project.team_id,
                    "your_role": membership.role_of(self.request.user, project).slug,
                    "members": project.roles.select_related("user"),
                }
            ).data
        )


class ProjectMemberViewSet(ProjectScopedViewSet):
    """Those with a role of their own in a project."""

    serializer_class = MemberSerializer
    lookup_url_kwarg = "username"
    lookup_value_regex = USERNAME_PATTERN

    @extend_schema(
        operation_id="projects_members_update",
        summary="Give somebody a role in a project",
        request=MemberWriteSerializer,
        responses=MemberSerializer,
    )
    def update(self, request: Request, project_id: str, username: str) -> Response:
        project = self.get_project()
        serializer = MemberWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        role = serializer.validated_data["role"]
        given = membership.give_role(project, find_user(username), role)
        return Response(MemberSerializer(given).data)

    @extend_schema(
        operation_id="projects_members_destroy",
        summary="Take somebody's role in a project",
        description="They keep what they have as a member of its team.",
        responses={204: OpenApiResponse(description="Taken.")},
    )
    def destroy(self, request: Request, project_id: str, username: str) -> Response:
        project = self.get_project()
        roles = project.roles.select_related("user")
        membership.take_role(project, get_object_or_404(roles, user__username=username).user)
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema_view(
    list=extend_schema(
        summary="List your tokens",
        description="Also those of service accounts of teams that you own.",
    ),
)
class TokenViewSet(KnownParametersMixin, mixins.ListModelMixin, GenericViewSet[Token]):
    """API tokens."""

    schema_tags: ClassVar[list[str]] = ["tokens"]
    queryset = Token.objects.none()
    serializer_class = TokenSerializer
    filter_backends = ()
    pagination_class: Any = None
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> TokenQuerySet:
        return tokens_managed_by(user_of(self.request)).select_related("user")

    @extend_schema(
        summary="Issue a token",
        description="The token is in the response, and nowhere else.",
        request=TokenWriteSerializer,
        responses={201: IssuedTokenSerializer},
    )
    def create(self, request: Request) -> Response:
        serializer = TokenWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        project_id = given["project_id"]
        visible = Project.objects.visible_to(request.user)
        if project_id is not None and not visible.filter(pk=project_id).exists():
            raise InvalidInput(_("There is no such project."), attr="project_id")
        token, secret = issue_token(
            by=user_of(request),
            name=given["name"],
            scope=Scope(given["scope"]),
            project_id=project_id,
            days=given["days"],
            username=given.get("user", ""),
        )
        content = {**TokenSerializer(token).data, "token": secret}
        return Response(content, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Revoke a token",
        description="One that may write may revoke itself.",
        responses={204: OpenApiResponse(description="Revoked.")},
    )
    def destroy(self, request: Request, id: str) -> Response:
        revoke(self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)
