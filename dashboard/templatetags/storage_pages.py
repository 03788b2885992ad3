"""Template tags for the use of storage."""

from typing import Any

from django import template

from artifacts.storage_quotas import exceeded
from projects.models import Project

register = template.Library()


@register.inclusion_tag("storage/_warnings.html")
def storage_warnings(project: Project) -> dict[str, Any]:
    """A message for each quota that is used up."""
    return {"exceeded": exceeded(project)}
