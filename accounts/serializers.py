"""JSON of teams, members and tokens."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.models import Team
from accounts.models.team import MAX_NAME_LENGTH
from accounts.models.token import MAX_NAME_LENGTH as MAX_TOKEN_NAME_LENGTH
from accounts.roles import Role, Scope
from core.fields import StrictBooleanField, StrictCharField, StrictIntegerField
from core.known_names import KnownFieldsSerializer

MAX_DAYS = 36_500
ROLES = [role.slug for role in Role]


class RoleField(serializers.ChoiceField):
    """A role by its English name, in lower case."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=ROLES, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return Role[super().to_internal_value(data).upper()]

    def to_representation(self, value: Any) -> str:
        return Role(value).slug


class MemberSerializer(serializers.Serializer[Any]):
    """Of a team or a project."""

    username = StrictCharField(source="user.username")
    role = RoleField()
    created_at = serializers.DateTimeField()


class TeamMemberSerializer(MemberSerializer):
    takes_new_projects = StrictBooleanField(
        help_text="Whether the new projects of this member belong to the team."
    )


class TeamMemberChangeSerializer(KnownFieldsSerializer):
    takes_new_projects = StrictBooleanField(
        help_text="Whether your new projects and registered models belong to the team, provided "
        "that you are a member or more in it and that no other team takes them."
    )


class MemberWriteSerializer(KnownFieldsSerializer):
    role = RoleField()


class TeamSerializer(serializers.Serializer[Any]):
    id = StrictCharField()
    name = StrictCharField()
    description = StrictCharField()
    created_at = serializers.DateTimeField()


class TeamDetailSerializer(TeamSerializer):
    members = serializers.SerializerMethodField()

    def get_members(self, team: Team) -> list[dict[str, Any]]:
        memberships = team.memberships.select_related("user")
        return [dict(member) for member in TeamMemberSerializer(memberships, many=True).data]


class TeamWriteSerializer(KnownFieldsSerializer):
    name = StrictCharField(max_length=MAX_NAME_LENGTH)
    description = StrictCharField(max_length=500, required=False, allow_blank=True, default="")


class TeamChangeSerializer(KnownFieldsSerializer):
    name = StrictCharField(max_length=MAX_NAME_LENGTH, required=False)
    description = StrictCharField(max_length=500, required=False, allow_blank=True)


class TokenSerializer(serializers.Serializer[Any]):
    id = StrictCharField()
    name = StrictCharField()
    beginning = StrictCharField(help_text="Its first characters, by which people recognize it.")
    user = StrictCharField(source="user.username")
    scope = serializers.ChoiceField(choices=Scope.values)
    project_id = StrictCharField(allow_null=True, help_text="The only project that it is for.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")


class IssuedTokenSerializer(TokenSerializer):
    token = StrictCharField(help_text="The token itself. It is shown this one time.")


class TokenWriteSerializer(KnownFieldsSerializer):
    name = StrictCharField(max_length=MAX_TOKEN_NAME_LENGTH)
    scope = serializers.ChoiceField(choices=Scope.values, default=Scope.WRITE.value)
    project_id = StrictCharField(required=False, allow_null=True, max_length=32, default=None)
    days = StrictIntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_DAYS,
        default=None,
        help_text="Until it expires; null: never.",
    )
    user = StrictCharField(
        required=False,
        max_length=150,
        help_text="The service account that it is for; by default, yourself.",
    )
