from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CodeBundlesConfig(AppConfig):
    name = "code_bundles"
    verbose_name = _("code of runs")
