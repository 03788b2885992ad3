"""Content negotiation: what ``?format=`` and Accept may ask for."""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request


class KnownFormats(DefaultContentNegotiation):
    """DRF's, except that an unknown ``?format=`` is an error of that parameter, not a 404."""

    def filter_renderers(self, renderers: Iterable[Any], format: str) -> Any:
        matching = [renderer for renderer in renderers if renderer.format == format]
        if not matching:
            known = ", ".join(dict.fromkeys(renderer.format for renderer in renderers))
            text = _("Unknown format: %(format)s. Known: %(known)s.")
            error = text % {"format": format, "known": known}
            raise ValidationError({"format": [error]}, code="unknown")
        return matching


class AnyAccept(DefaultContentNegotiation):
    """Ignores Accept and ``?format=``: binary content has one representation."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
