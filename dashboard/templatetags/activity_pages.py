"""Template tags that tell what somebody has done, as sentences in the reader's language."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag
from dashboard.activity import Entry
from registry.models import ModelVersion
from runs.models import Run

register = template.Library()

# Entry.name -> the sentence if it is known who, and if not.
SENTENCES: Final[dict[str, tuple[str | Promise, str | Promise]]] = {
    "created": (
        _("%(who)s created %(run)s of %(project)s."),
        _("%(run)s of %(project)s was created."),
    ),
    "completed": (
        _("%(who)s: %(run)s of %(project)s completed."),
        _("%(run)s of %(project)s completed."),
    ),
    "failed": (
        _("%(who)s: %(run)s of %(project)s failed."),
        _("%(run)s of %(project)s failed."),
    ),
    "cancelled": (
        _("%(who)s cancelled %(run)s of %(project)s."),
        _("%(run)s of %(project)s was cancelled."),
    ),
    "stop_requested": (
        _("%(who)s cancelled %(run)s of %(project)s."),
        _("%(run)s of %(project)s was stopped."),
    ),
    "lost": (
        _("%(run)s of %(project)s was marked as lost."),
        _("%(run)s of %(project)s was marked as lost."),
    ),
    "recovered": (
        _("%(run)s of %(project)s restarted."),
        _("%(run)s of %(project)s restarted."),
    ),
    "reopened": (
        _("%(who)s continued %(run)s of %(project)s."),
        _("%(run)s of %(project)s continues."),
    ),
    "priority_changed": (
        _("%(who)s changed the priority of %(run)s of %(project)s."),
        _("The priority of %(run)s of %(project)s was changed."),
    ),
    "renamed": (
        _("%(who)s renamed %(run)s of %(project)s."),
        _("%(run)s of %(project)s was renamed."),
    ),
    "note_changed": (
        _("%(who)s changed the note of %(run)s of %(project)s."),
        _("The note of %(run)s of %(project)s was changed."),
    ),
    "tags_changed": (
        _("%(who)s changed the tags of %(run)s of %(project)s."),
        _("The tags of %(run)s of %(project)s were changed."),
    ),
    "archived": (
        _("%(who)s archived %(run)s of %(project)s."),
        _("%(run)s of %(project)s was archived."),
    ),
    "unarchived": (
        _("%(who)s listed %(run)s of %(project)s again."),
        _("%(run)s of %(project)s is listed again."),
    ),
    "deleted": (
        _("%(who)s moved %(run)s of %(project)s to the trash."),
        _("%(run)s of %(project)s was moved to the trash."),
    ),
    "restored": (
        _("%(who)s restored %(run)s of %(project)s."),
        _("%(run)s of %(project)s was restored."),
    ),
    "project_created": (
        pgettext_lazy("activity", "%(who)s created the project %(project)s."),
        pgettext_lazy("activity", "The project %(project)s was created."),
    ),
    "project_changed": (
        _("%(who)s changed the project %(project)s: version %(version)s."),
        _("The project %(project)s was changed: version %(version)s."),
    ),
    "tagged": (
        _("%(who)s tagged a checkpoint of %(run)s of %(project)s as %(tag)s: step %(step)s."),
        _("A checkpoint of %(run)s of %(project)s was tagged as %(tag)s: step %(step)s."),
    ),
    "registered": (
        _("%(who)s registered version %(version)s of the model %(model)s."),
        _("Version %(version)s of the model %(model)s was registered."),
    ),
}


@register.simple_tag
def activity_sentence(entry: Entry) -> SafeString:
    """What has happened, with links to the person's activity, the run and the project."""
    known, unknown = SENTENCES[entry.name]
    words: dict[str, Any] = {
        "who": _person(entry),
        "run": _run(entry.run),
        "project": _project(entry),
    }
    subject = entry.subject
    if isinstance(subject, ArtifactTag):
        words |= {"tag": TagValue(subject.value).label, "step": subject.artifact.step or 0}
    elif isinstance(subject, ModelVersion):
        words |= {"version": subject.number, "model": subject.model.name}
    elif entry.run is None:
        words |= {"version": subject.version}
    sentence = known if entry.actor is not None else unknown
    escaped = {name: conditional_escape(word) for name, word in words.items()}
    # All is escaped.
    return mark_safe(str(conditional_escape(str(sentence))) % escaped)  # noqa: S308 # nosec


def _person(entry: Entry) -> SafeString | str:
    if entry.actor is None:
        return ""
    url = f"{reverse('dashboard:activity')}?person={entry.actor.pk}"
    return format_html('<a href="{}">{}</a>', url, entry.actor.get_username())


def _run(run: Run | None) -> SafeString | str:
    if run is None:
        return ""
    url = reverse("dashboard:run", args=[run.project_id, run.pk])
    return format_html('<a href="{}">{}</a>', url, run.name)


def _project(entry: Entry) -> SafeString | str:
    if entry.project is None:
        return ""
    url = reverse("dashboard:project", args=[entry.project.pk])
    return format_html('<a href="{}">{}</a>', url, entry.project.name)
