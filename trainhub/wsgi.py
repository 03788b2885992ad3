"""The WSGI application that granian serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")

application = get_wsgi_application()

from trainhub.checks import refuse_contradictions  # noqa: E402  (needs the settings)

# Whatever server loads this: no management command has run the system checks for it.
refuse_contradictions()
