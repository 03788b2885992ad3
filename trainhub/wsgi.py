"""The WSGI application that granian serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
django.setup(set_prefix=False)

from core.handler import Handler  # noqa: E402  (needs the settings)
from trainhub.checks import refuse_contradictions  # noqa: E402

application = Handler()

# The server may not have been started by a management command, which runs the system checks.
refuse_contradictions()
