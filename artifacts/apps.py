from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ArtifactsConfig(AppConfig):
    name = "artifacts"
    verbose_name = _("Artifacts")

    def ready(self) -> None:
        from artifacts.evaluation_runs import take_metrics
        from artifacts.released import refuse_deletion, refuse_in_trash
        from artifacts.signals import checkpoint_tagging
        from runs.signals import run_completed, runs_deleting

        checkpoint_tagging.connect(refuse_in_trash)
        runs_deleting.connect(refuse_deletion)
        run_completed.connect(take_metrics)
