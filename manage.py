#!/usr/bin/env python
"""Entry point of every TrainHub command: ``python manage.py <command>``."""

import os
import sys

try:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError
except ModuleNotFoundError as error:
    sys.exit(
        f"{sys.executable} has no {error.name}: run `make up` once, then .venv/bin/python manage.py"
    )

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))  # a setting that cannot be: its sentence, without a traceback
    except OperationalError as error:
        from core.terminal import unanswered

        sys.exit(unanswered(error))
