from django.apps import AppConfig
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from core import refusals, sessions

        connection_created.connect(sessions.prepare_connection)
        connection_created.connect(refusals.note_connection)
        # Sent by each app that has models, which this one has not.
        pre_migrate.connect(sessions.lift_limits_to_migrate)
        post_migrate.connect(sessions.restore_limits_after_migrating)
        if not settings.DEBUG:  # only then are queries logged
            request_started.disconnect(reset_queries)
        # Together they take longer than many a view. Every request begins by closing connections
        # that are broken or too old, and nothing is cached.
        request_finished.disconnect(close_old_connections)
        request_finished.disconnect(close_caches)
