"""The admin of quotas."""

from __future__ import annotations

from django.contrib import admin

from core.admin import LargeTableAdmin
from runs.models import Quota


@admin.register(Quota)
class QuotaAdmin(LargeTableAdmin):
    list_display = ("id", "project", "owner", "pool", "max_gpus", "max_gpu_hours")
    list_select_related = ("project", "pool")
    ordering = ("id",)
    raw_id_fields = ("project",)
    word_lookups = ("owner__icontains", "project__name__icontains")
