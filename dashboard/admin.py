"""The admin of saved views."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from core.admin import LargeTableAdmin
from dashboard.models import SavedView


@admin.register(SavedView)
class SavedViewAdmin(LargeTableAdmin):
    """Views are saved on the pages; operators look at them and delete them."""

    list_display = ("name", "project", "owner", "is_shared", "updated_at")
    list_select_related = ("project", "owner")
    fields = ("name", "project", "owner", "is_shared", "query", "created_at", "updated_at")
    readonly_fields = fields
    word_lookups = ("name__icontains",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
