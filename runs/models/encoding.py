"""Text encodings that a training may print in."""

from __future__ import annotations

import codecs

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

DEFAULT_ENCODING = "utf-8"
# Output is split at these bytes before it is decoded.
_SPLIT_AT = "\n\r\b"


def validate_encoding(name: str) -> None:
    """A text encoding of Python that extends ASCII, e.g. gbk. Raises ValidationError."""
    try:
        codecs.lookup(name)
        extends_ascii = _SPLIT_AT.encode(name) == _SPLIT_AT.encode("ascii")
    except (LookupError, ValueError):  # unknown, or for bytes, like hex
        raise ValidationError(_("Unknown text encoding.")) from None
    if not extends_ascii:
        raise ValidationError(_("The encoding must extend ASCII, like utf-8 and gbk."))
