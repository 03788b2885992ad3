from django.apps import AppConfig
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries
from django.db.backends.signals import connection_created


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from core.database import prepare_connection

        connection_created.connect(prepare_connection)
        if not settings.DEBUG:  # only then are queries logged
            request_started.disconnect(reset_queries)
        # Together they take longer than many a view. Every request begins by closing connections
        # that are broken or too old, and nothing is cached.
        request_finished.disconnect(close_old_connections)
        request_finished.disconnect(close_caches)
