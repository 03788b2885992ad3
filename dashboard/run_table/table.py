"""The table as its templates draw it: heads with their links, lines with their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from core.templatetags.pages import as_json
from dashboard.run_table.address import Address, Sort
from dashboard.run_table.cells import Cell, cells, given, halves, is_numeric, spreads
from dashboard.run_table.columns import Column, Kind, text_in_filters
from dashboard.run_table.query import Group, Row
from dashboard.series_colors import color_number
from runs.status import RunStatus


@dataclass(frozen=True, slots=True)
class Head:
    column: Column
    is_numeric: bool
    sorted: str = ""  # the value of aria-sort; empty if it cannot be sorted by
    query: str = ""  # that sorts by it, or the other way round


@dataclass(frozen=True, slots=True)
class GroupLine:
    text: str  # empty: runs without a value
    count: int
    query: str  # of its runs; empty if the filter language cannot name them
    cells: list[tuple[Head, Cell]]


def head(column: Column, address: Address, *, is_numeric: bool) -> Head:
    if not column.is_sortable:
        return Head(column, is_numeric)
    sort = address.sort
    if sort is None or sort.column != column:
        query = address.but(sort=Sort(column, column.descends_first))
        return Head(column, is_numeric, "none", query)
    query = address.but(sort=Sort(column, not sort.descending))
    return Head(column, is_numeric, "descending" if sort.descending else "ascending", query)


# Written here, because Django's templates take several times as long for so many small parts.
_LINE: Final = """
<tr id="row-{id}" data-row>
  <td class="check"><input type="checkbox" name="runs" value="{id}" aria-label="{select}"></td>
  <th scope="row">
    <button type="button" class="quiet curve-switch" data-curve="{id}" data-name="{name}"
            data-color="--series-{color}" aria-pressed="false" aria-label="{curve}" disabled>
      <span class="dot series-{color}"></span>
    </button>
    <a href="{runs_url}/{id}"{cut}>{link}</a>{archived}
  </th>
  {cells}
</tr>"""


def lines(heads: Sequence[Head], rows: Sequence[Row], *, runs_url: str) -> list[SafeString]:
    """The rows as HTML. ``runs_url``: above the runs' own."""
    by_column = [cells(head.column, rows) for head in heads]
    archived = f' <span class="tag">{escape(_("archived"))}</span>'
    select, curve = escape(_("Select %(name)s")), escape(_("Curve of %(name)s"))
    found = []
    for number, row in enumerate(rows):
        name = escape(row.run.name)
        begin, end = halves(row.run.name)
        line = _LINE.format(
            id=row.run.pk,
            name=name,
            color=color_number(number),
            select=select % {"name": name},
            curve=curve % {"name": name},
            runs_url=runs_url,
            cut=f' class="halves" title="{name}" aria-label="{name}"' if end else "",
            link=f"<span>{escape(begin)}</span><span>{escape(end)}</span>" if end else name,
            archived=archived if row.run.archived_at else "",
            cells="".join(
                _cell(head, column[number]) for head, column in zip(heads, by_column, strict=True)
            ),
        )
        found.append(SafeString(line))  # nosec B703  cells are escaped
    return found


def _cell(head: Head, cell: Cell) -> str:
    css = ' class="n"' if head.is_numeric else ""
    title = f' title="{escape(cell.title)}"' if cell.title else ""
    text = cell.text if isinstance(cell.text, SafeString) else escape(cell.text)
    return f"<td{css}{title}>{text}</td>"


def heads(address: Address, columns: Sequence[Column], rows: Sequence[Row]) -> list[Head]:
    return [head(column, address, is_numeric=is_numeric(column, rows)) for column in columns]


def group_heads(address: Address, columns: Sequence[Column]) -> list[Head]:
    return [head(column, address, is_numeric=True) for column in grouped_columns(columns)]


def grouped_columns(columns: Sequence[Column]) -> list[Column]:
    """Those whose mean a group has."""
    return [column for column in columns if column.is_metric and column.has_value]


def group_lines(
    address: Address, by: Column, columns: Sequence[Column], groups: Sequence[Group]
) -> list[GroupLine]:
    heads = group_heads(address, columns)
    by_column = [spreads([group.metrics[head.column] for group in groups]) for head in heads]
    texts = _group_texts(by, [group.value for group in groups])
    return [
        GroupLine(
            texts[number],
            group.count,
            _group_query(address, by, group.value),
            [(head, column[number]) for head, column in zip(heads, by_column, strict=True)],
        )
        for number, group in enumerate(groups)
    ]


def _group_texts(by: Column, values: Sequence[str | float | None]) -> list[str]:
    """Empty for runs without a value. Numbers have the same digits, unless that leaves some without
    what tells them apart."""
    numbers = [value for value in values if isinstance(value, float)]
    texts = given(numbers)
    if len(set(texts)) < len(texts):
        texts = [as_json(number) for number in numbers]
    of_numbers = iter(texts)
    return [next(of_numbers) if isinstance(value, float) else _text(by, value) for value in values]


def _text(by: Column, value: str | None) -> str:
    if value is not None and by.kind is Kind.ATTRIBUTE and by.key == "status":
        return str(RunStatus(value).label)
    return "" if value is None else str(value)


def _group_query(address: Address, by: Column, value: str | float | None) -> str:
    name = by.name_in_filters
    if not name:
        return ""
    if value is None:
        return address.and_where(f"{name} IS NULL")
    if isinstance(value, float):
        number = int(value) if value.is_integer() else value
        return address.and_where(f"{name} = {as_json(number)}")
    if by.key == "gpus":
        return address.and_where(f"{name} = {value}")
    return address.and_where(f"{name} = {text_in_filters(str(value))}")
