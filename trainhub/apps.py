from django.apps import AppConfig


class TrainHubConfig(AppConfig):
    name = "trainhub"
    verbose_name = "TrainHub"

    def ready(self) -> None:
        from trainhub import checks  # noqa: F401  (registers the system checks)
