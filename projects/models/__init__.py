"""Projects and who has which role in them."""

from projects.models.project import (
    MAX_KEY_METRICS,
    MAX_TAG_LENGTH,
    MAX_TAGS,
    NEWEST_RUNS,
    Change,
    Project,
    ProjectArchived,
    ProjectQuerySet,
    ProjectStatus,
    Version,
)
from projects.models.project_role import ProjectRole

__all__ = [
    "MAX_KEY_METRICS",
    "MAX_TAGS",
    "MAX_TAG_LENGTH",
    "NEWEST_RUNS",
    "Change",
    "Project",
    "ProjectArchived",
    "ProjectQuerySet",
    "ProjectRole",
    "ProjectStatus",
    "Version",
]
