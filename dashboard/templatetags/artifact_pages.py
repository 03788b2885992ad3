"""Template tags for artifacts."""

from django import template
from django.utils.safestring import SafeString

from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag
from core.templatetags.pages import badge

register = template.Library()


@register.simple_tag
def tag_badge(tag: ArtifactTag) -> SafeString:
    return badge(TagValue(tag.value))
