"""What the audit tells of projects and the roles in them."""

from core.audited import Audited, declare
from projects.models import Project, ProjectRole

declare(
    Audited(
        model=Project,
        kind="project",
        columns=[
            *Project.CONFIGURATION,
            "status",
            "team_id",
            "key_metrics",
            "experiment_tags",
        ],
        name="{row}.name",
        project="{row}.id",
        actions={"status": ("status_changed",), "team_id": ("team_changed", "team_changed")},
    ),
    Audited(
        model=ProjectRole,
        kind="project_role",
        columns=["user_id", "role"],
        subject="{row}.project_id",
        name="(SELECT username FROM auth_user WHERE id = {row}.user_id)",
        project="{row}.project_id",
        actions={"role": ("role_changed",)},
    ),
)
