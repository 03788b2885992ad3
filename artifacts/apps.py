from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ArtifactsConfig(AppConfig):
    name = "artifacts"
    verbose_name = _("Artifacts")

    def ready(self) -> None:
        from artifacts.evaluation_runs import take_metrics
        from artifacts.protection import own_protections
        from artifacts.released import refuse_deletion, refuse_demotion, refuse_in_trash
        from artifacts.signals import checkpoint_protection, checkpoint_tagging
        from artifacts.storage_quotas import refuse_run
        from artifacts.trash import refuse_removed
        from runs.signals import run_admitting, run_completed, runs_deleting

        checkpoint_tagging.connect(refuse_in_trash)
        checkpoint_tagging.connect(refuse_demotion)
        checkpoint_protection.connect(own_protections)
        run_admitting.connect(refuse_removed)
        run_admitting.connect(refuse_run)
        runs_deleting.connect(refuse_deletion)
        run_completed.connect(take_metrics)
