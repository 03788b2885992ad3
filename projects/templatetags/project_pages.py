from django import template
from django.utils.safestring import SafeString

from projects.models import Project, ProjectStatus
from trainhub.templatetags.pages import badge

register = template.Library()


@register.simple_tag
def project_badge(project: Project) -> SafeString:
    return badge(ProjectStatus(project.status))


@register.filter
def field_label(name: str) -> str:
    """What a field of a project's configuration is called."""
    return str(Project._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
