"""Values separated by commas, semicolons or tabs, as a table of the first rows."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import ClassVar, Final

from django.utils.translation import gettext as _

from artifacts.models import Artifact
from artifacts.previews.contents import MAX_TEXT_BYTES, Unreadable, read_text
from core.messages import Message
from core.text import truncate

DELIMITERS: Final = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}
MAX_ROWS: Final = 200
MAX_COLUMNS: Final = 100
MAX_CELL_LENGTH: Final = 300
_NUMBER: Final = re.compile(r"\s*[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*%?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class Table:
    template: ClassVar[str] = "artifacts/previews/_table.html"

    header: list[Cell]
    rows: list[list[Cell]]
    has_more_rows: bool
    columns_left_out: int


def read(artifact: Artifact) -> Table:
    text, is_cut = read_text(artifact, MAX_TEXT_BYTES)
    lines = text.splitlines(keepends=True)
    if not lines:
        raise Unreadable(_("The file is empty."))
    choices = DELIMITERS[f".{artifact.file_name.rpartition('.')[2].lower()}"]
    delimiter = max(choices, key=lines[0].count)
    read_rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            if row:
                read_rows.append(row)
            if len(read_rows) > MAX_ROWS + 1:
                break
    except csv.Error as error:
        raise Unreadable(Message("Not a table: %(why)s", why=str(error))) from error
    if not read_rows:
        raise Unreadable(_("The file is empty."))
    width = max(map(len, read_rows))
    header, *rows = [[_cell(text) for text in row[:MAX_COLUMNS]] for row in read_rows]
    return Table(
        header,
        rows[:MAX_ROWS],
        has_more_rows=is_cut or len(rows) > MAX_ROWS,
        columns_left_out=max(0, width - MAX_COLUMNS),
    )


def _cell(text: str) -> Cell:
    return Cell(truncate(text, MAX_CELL_LENGTH), _NUMBER.fullmatch(text) is not None)
