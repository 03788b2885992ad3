"""The admin of GPU pools, with how many GPUs are in use."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.admin import LargeTableAdmin
from runs.models import GpuPool, Run


@admin.register(GpuPool)
class GpuPoolAdmin(LargeTableAdmin):
    list_display = ("gpu_type", "capacity", "in_use")
    ordering = ("gpu_type",)
    word_lookups = ("gpu_type__icontains",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[GpuPool]:
        running = Run.objects.running().filter(gpu_type=OuterRef("pk"))
        used = running.order_by().values("gpu_type").annotate(used=Sum("gpu_count")).values("used")
        pools: QuerySet[GpuPool] = super().get_queryset(request)
        return pools.annotate(used=Coalesce(Subquery(used), 0))

    def get_readonly_fields(self, request: HttpRequest, obj: GpuPool | None = None) -> Any:
        return ("gpu_type",) if obj is not None else ()  # the type is the key

    @admin.display(description=_("in use"))
    def in_use(self, pool: Any) -> int:
        return int(pool.used)
