from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    name = "execution"

    def ready(self) -> None:
        from artifacts.signals import checkpoint_renewed
        from execution.upload_log import log_renewal

        checkpoint_renewed.connect(log_renewal)
