from django.apps import AppConfig
from django.db.backends.signals import connection_created


class TrainHubConfig(AppConfig):
    name = "trainhub"
    verbose_name = "TrainHub"

    def ready(self) -> None:
        from trainhub import checks  # noqa: F401  (registers the system checks)
        from trainhub.database import prepare_connection

        connection_created.connect(prepare_connection)
