"""Refuses what a request has that its endpoint does not know: a typo would silently do nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from core.negotiation import AnyAccept

if TYPE_CHECKING:
    View = APIView  # the class that the mixin extends
    Serializer = serializers.Serializer[Any]
else:
    View, Serializer = object, serializers.Serializer

MAX_NAMED: Final = 20
FORMAT: Final = "format"  # checked by core/negotiation.py


class KnownFieldsSerializer(Serializer):
    """A request's object without other fields than these, and ``ignored`` ones: of responses, which
    clients send back with the others."""

    ignored: ClassVar[Collection[str]] = ()

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [
                name for name in data if name not in self.fields and name not in self.ignored
            ]
            if self.fields:
                text = _("Unknown field: %(name)s. Known: %(known)s.")
            else:
                text = _("Unknown field: %(name)s. There are none here.")
            _refuse(unknown, text, self.fields)
        return super().to_internal_value(data)


class NoFieldsSerializer(KnownFieldsSerializer):
    """An object without fields, which a request need not send."""


class KnownParametersMixin(View):
    """Place before the view in the list of base classes. ``parameters``: the names that the query
    of an action, or of a method in a plain view, may have."""

    parameters: ClassVar[Mapping[str, Collection[str]]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = str(request.method).lower()
        if method == "options" or not hasattr(self, method):  # then the method is refused
            return
        action = getattr(self, "action", None) or method
        known = self.parameters.get(action, ())
        negotiated = () if self.content_negotiation_class is AnyAccept else (FORMAT,)
        unknown = [name for name in request.query_params if name not in (*known, *negotiated)]
        if known:
            text = _("Unknown parameter: %(name)s. Known: %(known)s.")
        else:
            text = _("Unknown parameter: %(name)s. There are none here.")
        _refuse(unknown, text, known)


def names_of(*kinds: Any) -> list[str]:
    """The names of the fields of serializers and filter sets."""
    names: list[str] = []
    for kind in kinds:
        names += kind.base_filters if hasattr(kind, "base_filters") else kind().fields
    return names


def _refuse(unknown: list[str], text: str, known: Collection[str]) -> None:
    """``text``: with %(name)s and %(known)s. Raises ValidationError if there are unknown names."""
    if unknown:
        listed = ", ".join(dict.fromkeys(known))
        errors = {
            name: [text % {"name": name, "known": listed}] for name in islice(unknown, MAX_NAMED)
        }
        raise serializers.ValidationError(errors, code="unknown")
