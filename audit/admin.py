"""The admin of the audit: read-only, as the database keeps it."""

from typing import ClassVar

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from audit.models import NEWEST_FIRST, Entry
from core.admin import ReadOnlyAdmin


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "action", "subject_id", "name", "actor", "token_id", "address", "via")
    list_filter = ("at",)
    ordering = NEWEST_FIRST
    id_lookups: ClassVar[dict[str, str]] = {"token_": "token_id"}
    word_lookups = ("subject_id", "action", "actor")
    search_help_text = _("An action (project.created), an ID (run_…, token_…), or a user")
