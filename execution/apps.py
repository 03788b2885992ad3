from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    name = "execution"

    def ready(self) -> None:
        from django.db.models.signals import pre_delete

        from artifacts.signals import checkpoint_renewed
        from execution.mirror.dropping import forget_mirrored
        from execution.upload_log import log_renewal
        from runs.models import Run

        checkpoint_renewed.connect(log_renewal)
        pre_delete.connect(forget_mirrored, sender=Run)
