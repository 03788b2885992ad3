"""The bytes of pictures and HTML files, for frames and images of a page.

What is in them may act as little as possible: the policy puts an HTML file into an origin of its
own, without scripts, forms, frames and requests to anywhere, whether it is opened in a frame or by
its address; a browser takes no file for anything but what is said here.
"""

from __future__ import annotations

from typing import Final

from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response

from artifacts.models import Artifact
from artifacts.previews import documents, images
from artifacts.previews.contents import suffix_of

POLICY: Final = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
CONTENT_TYPES: Final = {
    **images.CONTENT_TYPES,
    **dict.fromkeys(documents.HTML, "text/html; charset=utf-8"),
}


def raw(request: HttpRequest, artifact: Artifact) -> HttpResponseBase | None:
    """The file as it is, under POLICY; None for a file of another kind, or one too large.

    Raises FileNotFoundError.
    """
    content_type = CONTENT_TYPES.get(suffix_of(artifact))
    is_html = content_type is not None and content_type.startswith("text/html")
    limit = documents.MAX_HTML_BYTES if is_html else images.MAX_BYTES
    if content_type is None or artifact.size_bytes > limit:
        return None
    etag = f'"{artifact.sha256}"'
    response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if response is None:
        response = FileResponse(artifact.open(), content_type=content_type)
        response["Content-Length"] = str(artifact.size_bytes)
        response["Content-Disposition"] = "inline"
    response["ETag"] = etag
    response["Content-Security-Policy"] = POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    response["Referrer-Policy"] = "no-referrer"
    return response
