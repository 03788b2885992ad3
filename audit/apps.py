from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = _("Audit")

    def ready(self) -> None:
        from django.contrib.auth.signals import (
            user_logged_in,
            user_logged_out,
            user_login_failed,
        )
        from django.db.backends.signals import connection_created
        from django.db.models.signals import post_migrate, pre_migrate

        from audit import callers, sign_ins, triggers

        autodiscover_modules("audited")
        connection_created.connect(callers.tag_statements, dispatch_uid="audit.callers")
        pre_migrate.connect(triggers.before_migrating, sender=self, dispatch_uid="audit.before")
        post_migrate.connect(triggers.after_migrating, sender=self, dispatch_uid="audit.after")
        user_logged_in.connect(sign_ins.signed_in, dispatch_uid="audit.signed_in")
        user_logged_out.connect(sign_ins.signed_out, dispatch_uid="audit.signed_out")
        user_login_failed.connect(sign_ins.refused, dispatch_uid="audit.refused")
