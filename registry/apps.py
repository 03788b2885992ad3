from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RegistryConfig(AppConfig):
    name = "registry"
    verbose_name = _("Model registry")

    def ready(self) -> None:
        from artifacts.signals import checkpoint_changed, checkpoint_tagged, checkpoint_tagging
        from registry.approval import demand_approval, expire
        from registry.models import follow_tag

        checkpoint_tagging.connect(demand_approval)
        checkpoint_tagged.connect(follow_tag)
        checkpoint_changed.connect(expire)
