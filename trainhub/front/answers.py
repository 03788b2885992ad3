"""nginx's own answers, written at the start: one file for each language, status and kind of URL."""

from pathlib import Path
from typing import Final

import orjson
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from core.errors import json_error

# Of nginx's configuration alone, which sends it as 429: that has a text already.
TOO_MANY_WRITES: Final = 420
# Status: code in our API, MLflow's error code, detail.
ANSWERS: Final[dict[int, tuple[str, str, str | Promise]]] = {
    400: ("bad_request", "BAD_REQUEST", _("The request could not be understood.")),
    401: ("not_authenticated", "UNAUTHENTICATED", _("Sign in, or send a valid token.")),
    403: ("permission_denied", "PERMISSION_DENIED", _("You do not have permission to do this.")),
    404: ("not_found", "RESOURCE_DOES_NOT_EXIST", _("The requested URL was not found.")),
    405: ("method_not_allowed", "BAD_REQUEST", _("This method is not allowed.")),
    413: ("body_too_large", "BAD_REQUEST", _("The body is larger than %(limit)d bytes.")),
    414: ("too_long", "BAD_REQUEST", _("The URL or the headers are too long.")),
    TOO_MANY_WRITES: (
        "too_many_writes",
        "RESOURCE_LIMIT_EXCEEDED",
        _("Too many changes in a short time. Wait a few seconds, and send more at once."),
    ),
    429: (
        "too_many_searches",
        "RESOURCE_LIMIT_EXCEEDED",
        _("Too many searches of logs at once. Wait until one has ended."),
    ),
    503: (
        "unavailable",
        "TEMPORARILY_UNAVAILABLE",
        _("The server is starting or overloaded. Try again in a few seconds."),
    ),
    507: (
        "storage_full",
        "RESOURCE_LIMIT_EXCEEDED",
        _("The server's disk is full: nothing was saved. Try again when it has space."),
    ),
}


def write_answers(directory: Path) -> None:
    """Write ``{language}/{status}.{kind}`` below ``directory``."""
    for language, _name in settings.LANGUAGES:
        folder = directory / language
        folder.mkdir(parents=True, exist_ok=True)
        with translation.override(language):
            for status, (code, mlflow_code, detail) in ANSWERS.items():
                text = str(detail) % {"limit": settings.MAX_JSON_BYTES}
                (folder / f"{status}.api.json").write_bytes(json_error(status, code, text).content)
                mlflow = {"error_code": mlflow_code, "message": text}
                (folder / f"{status}.mlflow.json").write_bytes(orjson.dumps(mlflow))
                shown = 429 if status == TOO_MANY_WRITES else status
                page = render_to_string("error.html", {"status": shown, "detail": text})
                (folder / f"{status}.page.html").write_text(page, encoding="utf-8")
