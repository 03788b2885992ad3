"""Template tags for artifacts."""

from typing import Any

from django import template
from django.utils.safestring import SafeString

from artifacts.kinds import TagValue
from artifacts.models import Artifact, ArtifactTag
from core.templatetags.pages import badge
from dashboard.forms.artifacts import TagForm

register = template.Library()


@register.simple_tag
def tag_badge(tag: ArtifactTag) -> SafeString:
    return badge(TagValue(tag.value))


@register.inclusion_tag("artifacts/_tag_form.html", takes_context=True)
def tag_form(context: template.Context, artifact: Artifact) -> dict[str, Any]:
    form = TagForm(auto_id=f"{artifact.pk}-%s")
    return {"artifact": artifact, "form": form, "csrf_token": context.get("csrf_token")}
