"""Template filters of the audit."""

from __future__ import annotations

from django import template
from django.urls import reverse

from artifacts.kinds import TagValue
from audit.models import Entry
from audit.names import KINDS, VERBS

register = template.Library()


@register.filter
def kind_name(entry: Entry) -> str:
    return str(KINDS.get(entry.kind, entry.kind))


@register.filter
def subject_name(entry: Entry) -> str:
    """As it is called; a tag of a checkpoint in the reader's language."""
    if entry.kind == "checkpoint_tag" and entry.name in TagValue.values:
        return str(TagValue(entry.name).label)
    return entry.name or entry.subject_id


@register.filter
def verb_name(entry: Entry) -> str:
    return str(VERBS.get(entry.verb, entry.verb))


@register.filter
def subject_url(entry: Entry) -> str:
    """Where the subject has a page; empty where it has none, or is gone for good."""
    if entry.verb == "deleted":
        return ""
    if entry.kind == "run" and entry.project_id:
        return reverse("dashboard:run", args=[entry.project_id, entry.subject_id])
    if entry.kind in {"project", "project_role"} and entry.project_id:
        return reverse("dashboard:project", args=[entry.project_id])
    if entry.kind in {"team", "team_member"}:
        return reverse("dashboard:team", args=[entry.subject_id])
    if entry.kind == "sweep" and entry.project_id:
        return reverse("dashboard:sweep", args=[entry.project_id, entry.subject_id])
    return ""
