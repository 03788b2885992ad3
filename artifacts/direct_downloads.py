"""Downloads whose bytes come from S3, not through the server: by presigned URLs.

A client asks for that with ``Prefer: direct`` (RFC 7240) and is sent on to S3; one that does not
gets the bytes from here. Whoever has the URL can fetch this one file until it expires, as an
attachment: nothing of it is shown or runs in a browser.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.http import HttpRequest, HttpResponseRedirect
from django.utils.cache import patch_vary_headers
from django.utils.http import content_disposition_header

from artifacts.direct_transfers import direct_transfers
from artifacts.models import Artifact

PREFERENCE: Final = "direct"
URL_LIFE: Final = timedelta(minutes=5)  # a transfer that has begun goes on


def url_of(artifact: Artifact) -> str | None:
    """Where the client fetches the file at S3, in full or by ranges; None if it cannot."""
    transfers = direct_transfers()
    if transfers is None:
        return None
    return transfers.download_url(
        artifact.storage_key,
        content_type=artifact.content_type,
        disposition=content_disposition_header(True, artifact.file_name) or "attachment",
        seconds=URL_LIFE.total_seconds(),
    )


def redirect(request: HttpRequest, artifact: Artifact) -> HttpResponseRedirect | None:
    """302 to S3 for a client that prefers it; None if the bytes are sent from here."""
    if request.method != "GET" or not _prefers_direct(request):
        return None
    url = url_of(artifact)
    if url is None:
        return None
    response = HttpResponseRedirect(url)
    response["Preference-Applied"] = PREFERENCE
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Prefer"])
    return response


def _prefers_direct(request: HttpRequest) -> bool:
    preferences = request.headers.get("Prefer", "").split(",")
    return PREFERENCE in {preference.strip().lower() for preference in preferences}
