from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RegistryConfig(AppConfig):
    name = "registry"
    verbose_name = _("Model registry")

    def ready(self) -> None:
        from artifacts.signals import (
            checkpoint_changed,
            checkpoint_protection,
            checkpoint_tagged,
            checkpoint_tagging,
            files_changing,
        )
        from registry.approval import demand_approval, expire
        from registry.checkpoint_protection import protected_by_registry
        from registry.models import follow_tag
        from registry.released_versions import refuse_change, refuse_deletion
        from runs.signals import runs_deleting

        checkpoint_protection.connect(protected_by_registry)
        checkpoint_tagging.connect(demand_approval)
        checkpoint_tagged.connect(follow_tag)
        checkpoint_changed.connect(expire)
        files_changing.connect(refuse_change)
        runs_deleting.connect(refuse_deletion)
