from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NoticesConfig(AppConfig):
    name = "notices"
    verbose_name = _("Notices")

    def ready(self) -> None:
        from artifacts.signals import checkpoint_tagged
        from notices import happenings
        from runs.signals import run_noted

        run_noted.connect(happenings.follow_run, dispatch_uid="notices.runs")
        checkpoint_tagged.connect(happenings.follow_tag, dispatch_uid="notices.tags")
