"""A model card as the answer to a request, of the API or of a page."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from django.utils.http import content_disposition_header

from artifacts.models import Artifact
from registry.model_cards import model_card

MARKDOWN: Final = "text/markdown"


def model_card_response(checkpoint: Artifact) -> HttpResponse:
    """The card as the file README.md, in the reader's language."""
    response = HttpResponse(
        model_card(checkpoint), content_type=f"{MARKDOWN}; charset=utf-8; variant=CommonMark"
    )
    disposition = content_disposition_header(as_attachment=True, filename="README.md")
    if disposition:
        response["Content-Disposition"] = disposition
    return response
