"""What the audit tells of users, their rights, teams and tokens."""

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Group, User

from accounts.models import ServiceAccount, Team, TeamMembership, Token
from core.audited import Audited, declare

USERNAME = "(SELECT username FROM auth_user WHERE id = {row}.user_id)"
GROUP = "(SELECT name FROM auth_group WHERE id = {row}.group_id)"
PERMISSION = "(SELECT codename FROM auth_permission WHERE id = {row}.permission_id)"

declare(
    Audited(
        model=User,
        kind="user",
        columns=[
            "username",
            "email",
            "first_name",
            "last_name",
            "is_active",
            "is_staff",
            "is_superuser",
            "password",
        ],
        name="{row}.username",
        secret=["password"],
        actions={
            "is_superuser": ("superuser_given", "superuser_taken"),
            "is_staff": ("staff_given", "staff_taken"),
            "is_active": ("activated", "deactivated"),
            "password": ("password_changed",),
        },
    ),
    Audited(model=Group, kind="group", columns=["name"], name="{row}.name"),
    Audited(
        model=User.groups.through,
        kind="group_member",
        columns=["user_id", "group_id"],
        name=f"{USERNAME} || ' · ' || {GROUP}",
    ),
    Audited(
        model=User.user_permissions.through,
        kind="user_permission",
        columns=["user_id", "permission_id"],
        name=f"{USERNAME} || ' · ' || {PERMISSION}",
    ),
    Audited(
        model=Group.permissions.through,
        kind="group_permission",
        columns=["group_id", "permission_id"],
        name=f"{GROUP} || ' · ' || {PERMISSION}",
    ),
    Audited(
        model=SocialAccount,
        kind="identity",
        columns=["user_id", "provider", "uid"],
        name=USERNAME,
    ),
    Audited(
        model=Team,
        kind="team",
        columns=["name", "description"],
        name="{row}.name",
        team="{row}.id",
        actions={"name": ("renamed",)},
    ),
    Audited(
        model=TeamMembership,
        kind="team_member",
        columns=["user_id", "role", "takes_new_projects"],
        subject="{row}.team_id",
        name=USERNAME,
        team="{row}.team_id",
        actions={
            "role": ("role_changed",),
            "takes_new_projects": ("new_projects_given", "new_projects_kept"),
        },
    ),
    Audited(
        model=ServiceAccount,
        kind="service_account",
        columns=["user_id", "team_id", "description"],
        name=USERNAME,
        team="{row}.team_id",
    ),
    Audited(
        model=Token,
        kind="token",
        columns=["user_id", "name", "scope", "project_id", "expires_at"],
        name="coalesce(nullif({row}.name, ''), {row}.beginning || '…')",
        project="{row}.project_id",
        team="(SELECT team_id FROM accounts_serviceaccount WHERE user_id = {row}.user_id)",
        # Not those that workers issue to scripts: one each attempt.
        when="{row}.run_id = ''",
    ),
)
