"""Template tags for projects."""

from django import template
from django.utils.safestring import SafeString

from core.templatetags.pages import badge
from projects.models import Project, ProjectStatus

register = template.Library()


@register.simple_tag
def project_badge(project: Project) -> SafeString:
    return badge(ProjectStatus(project.status))


@register.filter
def field_label(name: str) -> str:
    """Return the verbose name of a project configuration field."""
    return str(Project._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
