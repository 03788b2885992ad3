from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RunsConfig(AppConfig):
    name = "runs"
    verbose_name = _("Runs")

    def ready(self) -> None:
        from projects.signals import project_reopened
        from runs.trash import restore_runs

        project_reopened.connect(restore_runs)
