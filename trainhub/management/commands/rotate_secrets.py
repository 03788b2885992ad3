"""manage.py rotate_secrets: encrypt stored secrets with the current key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import translation
from django.utils.translation import gettext as _

from core.terminal import terminal_language
from trainhub.stored_secrets import rotate


class Command(BaseCommand):
    help = (
        "Encrypt stored secrets (of recipes, webhooks and attempts) with TRAINHUB_SECRET_KEY, if "
        "they were encrypted with one of TRAINHUB_SECRET_KEY_FALLBACKS, which can be left out "
        "afterwards. Exit code 1 if no key reads some."
    )

    def handle(self, **options: Any) -> None:
        with translation.override(terminal_language()):
            rotated, unreadable = rotate(
                lambda where: self.stderr.write(_("Cannot be read: %(where)s") % {"where": where})
            )
            self.stdout.write(_("%(count)d secrets encrypted anew.") % {"count": rotated})
            if unreadable:
                raise CommandError(
                    _("%(count)d secrets cannot be read with any key. Enter them again.")
                    % {"count": unreadable}
                )
