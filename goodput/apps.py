from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GoodputConfig(AppConfig):
    name = "goodput"
    verbose_name = _("Goodput")

    def ready(self) -> None:
        from goodput.attempts import record_attempt
        from runs.signals import attempt_ending

        attempt_ending.connect(record_attempt)
