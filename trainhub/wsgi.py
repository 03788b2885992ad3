"""The WSGI application that granian serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")

application = get_wsgi_application()

from trainhub.checks import refuse_contradictions  # noqa: E402  (needs the settings)

# The server may not have been started by a management command, which runs the system checks.
refuse_contradictions()
