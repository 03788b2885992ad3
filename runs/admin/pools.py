"""The admin of GPU pools, with how many GPUs are in use."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, IntegerField, QuerySet, When
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.admin import LargeTableAdmin
from runs.models import GpuPool, Run


@admin.register(GpuPool)
class GpuPoolAdmin(LargeTableAdmin):
    list_display = (
        "name",
        "gpu_type",
        "executor",
        "cluster",
        "capacity",
        "reserve",
        "in_use",
        "price_per_gpu_hour",
    )
    ordering = ("name",)
    word_lookups = ("name__icontains", "gpu_type__icontains")

    def get_queryset(self, request: HttpRequest) -> QuerySet[GpuPool]:
        used = Run.objects.gpus_in_use()
        cases = [When(name=name, then=count) for name, count in used.items()]
        pools: QuerySet[GpuPool] = super().get_queryset(request)
        return pools.annotate(used=Case(*cases, default=0, output_field=IntegerField()))

    def get_readonly_fields(self, request: HttpRequest, obj: GpuPool | None = None) -> Any:
        return ("name",) if obj is not None else ()  # the name is the key

    @admin.display(description=_("in use"))
    def in_use(self, pool: Any) -> int:
        return int(pool.used)
