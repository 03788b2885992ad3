"""The admin of webhooks and deliveries: read-only, without addresses and secrets."""

from typing import ClassVar

from django.contrib import admin

from core.admin import ReadOnlyAdmin
from notices.models import Delivery, Webhook


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "shape", "enabled", "created_at", "created_by")
    list_select_related = ("project", "created_by")
    ordering = ("id",)
    id_lookups: ClassVar[dict[str, str]] = {"hook_": "pk__startswith", "proj_": "project"}
    fields = ("id", "project", "name", "shape", "events", "metric", "comparison", "threshold")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("id", "webhook", "event", "status", "attempts", "response_code", "created_at")
    list_select_related = ("webhook",)
    ordering = ("-created_at", "-id")
    id_lookups: ClassVar[dict[str, str]] = {"msg_": "pk__startswith", "hook_": "webhook"}
