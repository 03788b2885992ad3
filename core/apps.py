from django.apps import AppConfig
from django.conf import settings
from django.core.signals import request_started
from django.db import reset_queries
from django.db.backends.signals import connection_created


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from core.database import prepare_connection

        connection_created.connect(prepare_connection)
        if not settings.DEBUG:  # only then are queries logged
            request_started.disconnect(reset_queries)
