"""What a file contains, for a page: one module for each kind of file.

Each reads a bounded number of bytes, whatever the file's size and whatever it claims to be, and
raises Unreadable with the reason if it is not of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from artifacts.models import Artifact
from artifacts.previews import documents, images, json_trees, safetensors, tables, texts
from artifacts.previews.contents import Unreadable, suffix_of

Preview: TypeAlias = (
    documents.Html
    | documents.MarkdownText
    | images.Image
    | json_trees.JsonTree
    | safetensors.Header
    | tables.Table
    | texts.Text
)

__all__ = ["Preview", "Unreadable", "preview_of"]

READERS: Final[dict[str, Callable[[Artifact], Preview]]] = {
    **dict.fromkeys(documents.HTML, documents.read_html),
    **dict.fromkeys(documents.MARKDOWN, documents.read_markdown),
    **dict.fromkeys(images.CONTENT_TYPES, images.read),
    **dict.fromkeys(json_trees.SUFFIXES, json_trees.read),
    **dict.fromkeys(safetensors.SUFFIXES, safetensors.read),
    **dict.fromkeys(tables.DELIMITERS, tables.read),
    **dict.fromkeys(texts.SUFFIXES, texts.read),
}


def preview_of(artifact: Artifact) -> Preview | None:
    """What the file contains; None if its name is of no kind that is shown. Of an unknown name
    that is short and reads as text, the text.

    Raises Unreadable, FileNotFoundError.
    """
    reader = READERS.get(suffix_of(artifact))
    if reader is not None:
        return reader(artifact)
    if artifact.is_checkpoint:
        return None
    try:
        return texts.read(artifact)
    except Unreadable:
        return None
