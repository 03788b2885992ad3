"""The API of teams and their members."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib.auth.models import User
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.issuing import AccessForbidden, require_unlimited
from accounts.models import Team
from accounts.models.team import TeamQuerySet
from accounts.roles import Role
from accounts.serializers import (
    MemberWriteSerializer,
    TeamChangeSerializer,
    TeamDetailSerializer,
    TeamMemberChangeSerializer,
    TeamMemberSerializer,
    TeamSerializer,
    TeamWriteSerializer,
)
from accounts.users import user_of
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin

USERNAME_PATTERN: Final = r"[^/\x00]{1,150}"


def find_user(username: str) -> User:
    """Raises Http404."""
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise Http404(_("There is no user %(name)s.") % {"name": username})
    return user


class TeamScopedViewSet(KnownParametersMixin, GenericViewSet[Team]):
    queryset = Team.objects.none()
    schema_tags: ClassVar[list[str]] = ["teams"]
    filter_backends = ()
    pagination_class: Any = None

    def get_queryset(self) -> TeamQuerySet:
        return Team.objects.visible_to(self.request.user)

    def owned(self, team_id: str) -> Team:
        """Raises Http404 for a stranger, AccessForbidden for who does not own it."""
        team = get_object_or_404(self.get_queryset(), pk=team_id)
        user = user_of(self.request)
        require_unlimited(user)
        if not Team.objects.visible_to(user, role=Role.OWNER).filter(pk=team.pk).exists():
            raise AccessForbidden(_("Only owners of the team may do this."))
        return team


@extend_schema_view(
    list=extend_schema(summary="List your teams", responses=TeamSerializer(many=True)),
    retrieve=extend_schema(summary="Get a team", responses=TeamDetailSerializer),
)
class TeamViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TeamScopedViewSet):
    """Teams."""

    serializer_class = TeamDetailSerializer
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN

    def get_serializer_class(self) -> Any:
        return TeamSerializer if self.action == "list" else TeamDetailSerializer

    @extend_schema(
        summary="Create a team",
        description="You are its first owner.",
        request=TeamWriteSerializer,
        responses={201: TeamDetailSerializer},
    )
    def create(self, request: Request) -> Response:
        user = user_of(request)
        require_unlimited(user)
        serializer = TeamWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        team = Team.create(**serializer.validated_data, by=user)
        return Response(TeamDetailSerializer(team).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Rename or describe a team",
        request=TeamChangeSerializer,
        responses=TeamDetailSerializer,
    )
    def partial_update(self, request: Request, id: str) -> Response:
        team = self.owned(id)
        serializer = TeamChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        team.change(**serializer.validated_data)
        return Response(TeamDetailSerializer(team).data)

    @extend_schema(
        summary="Delete a team",
        description="It must own no projects: give them to another team first.",
        responses={204: OpenApiResponse(description="Deleted.")},
    )
    def destroy(self, request: Request, id: str) -> Response:
        self.owned(id).disband()
        return Response(status=status.HTTP_204_NO_CONTENT)


class TeamMemberViewSet(TeamScopedViewSet):
    """The members of a team."""

    serializer_class = TeamMemberSerializer
    lookup_url_kwarg = "username"
    lookup_value_regex = USERNAME_PATTERN

    @extend_schema(
        operation_id="teams_members_update",
        summary="Add a member, or change their role",
        description="The new projects of whom a superuser adds belong to the team. Others decide "
        "themselves: see PATCH.",
        request=MemberWriteSerializer,
        responses=TeamMemberSerializer,
    )
    def update(self, request: Request, team_id: str, username: str) -> Response:
        team = self.owned(team_id)
        serializer = MemberWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        role = serializer.validated_data["role"]
        membership = team.add(find_user(username), role, by=user_of(request))
        return Response(TeamMemberSerializer(membership).data)

    @extend_schema(
        operation_id="teams_members_partial_update",
        summary="Decide whether your new projects belong to the team",
        description="For yourself alone: not even the team's owners decide it for others.",
        request=TeamMemberChangeSerializer,
        responses=TeamMemberSerializer,
    )
    def partial_update(self, request: Request, team_id: str, username: str) -> Response:
        user = user_of(request)
        team = get_object_or_404(self.get_queryset(), pk=team_id)
        require_unlimited(user)
        if username != user.get_username():
            raise AccessForbidden(_("Only the member decides this."))
        serializer = TeamMemberChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        membership = team.take_new_projects(user, serializer.validated_data["takes_new_projects"])
        return Response(TeamMemberSerializer(membership).data)

    @extend_schema(
        operation_id="teams_members_destroy",
        summary="Remove a member",
        description="A member may remove themselves.",
        responses={204: OpenApiResponse(description="Removed.")},
    )
    def destroy(self, request: Request, team_id: str, username: str) -> Response:
        user = user_of(request)
        if username == user.get_username():
            require_unlimited(user)
            team = get_object_or_404(self.get_queryset(), pk=team_id)
        else:
            team = self.owned(team_id)
        members = team.memberships.select_related("user")
        team.remove(get_object_or_404(members, user__username=username).user)
        return Response(status=status.HTTP_204_NO_CONTENT)
