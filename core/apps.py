from django.apps import AppConfig
from django.conf import settings
from django.core.signals import request_started
from django.db import reset_queries
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from core import refusals, sessions

        connection_created.connect(sessions.prepare_connection)
        connection_created.connect(refusals.note_connection)
        pre_migrate.connect(sessions.lift_limits_to_migrate, sender=self)
        post_migrate.connect(sessions.restore_limits_after_migrating, sender=self)
        if not settings.DEBUG:  # only then are queries logged
            request_started.disconnect(reset_queries)
