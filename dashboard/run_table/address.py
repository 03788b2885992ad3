"""The query of the table's address, parsed, and written again with changes.

Whatever an address says, it can be parsed: what has no meaning is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, unquote

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from artifacts.kinds import TagValue
from core.ids import MAX_LENGTH
from core.text import MAX_NAME_LENGTH
from dashboard.pages import whole_number
from dashboard.run_table.columns import Column, parse_column
from runs.status import RunStatus

MAX_COLUMNS: Final = 60
MAX_FILTER_LENGTH: Final = 8000
MAX_PAGE: Final = 1_000_000
TRASH: Final = "trash"
ARCHIVED: Final = ("with", "only", TRASH)  # which runs are shown beside, or instead of, others
BARE: Final = "view="  # the query of the table as it is without a saved view
# The parameters of the filters, and the fields of an address without any.
FILTERS: Final = ("filter", "name", "status", "who", "tag", "sweep", "archived", "page")
NO_FILTERS: Final[dict[str, Any]] = {
    "filter": "",
    "name": "",
    "statuses": (),
    "who": "",
    "tag": "",
    "sweep": "",
    "archived": "",
}


@dataclass(frozen=True, slots=True)
class Sort:
    column: Column
    descending: bool

    @property
    def spec(self) -> str:
        return f"-{self.column.spec}" if self.descending else self.column.spec


@dataclass(frozen=True, slots=True)
class Address:
    columns: tuple[Column, ...] = ()  # empty: those that the project's runs suggest
    sort: Sort | None = None  # None: newest first
    filter: str = ""  # in the search language
    name: str = ""  # part of the run's name
    statuses: tuple[RunStatus, ...] = ()
    who: str = ""
    tag: str = ""  # on one of its checkpoints
    sweep: str = ""  # the id of the one whose trials are asked for
    group: Column | None = None
    archived: str = ""  # empty: without archived runs; else one of ARCHIVED
    page: int = 1
    view: str = ""  # the saved view that the address was made from

    @classmethod
    def of(cls, query: QueryDict) -> Address:
        statuses = (status for status in RunStatus if status in query.getlist("status"))
        group = parse_column(query.get("group", ""))
        archived = query.get("archived", "")
        tag = query.get("tag", "")
        return cls(
            columns=parse_columns(query.getlist("columns")),
            sort=_sort(query.get("sort", "")),
            filter=_text(query, "filter", MAX_FILTER_LENGTH),
            name=_text(query, "name", MAX_NAME_LENGTH),
            statuses=tuple(statuses),
            who=_text(query, "who", MAX_NAME_LENGTH),
            tag=tag if tag in TagValue.values else "",
            sweep=_text(query, "sweep", MAX_LENGTH),
            group=group if group and group.is_groupable else None,
            archived=archived if archived in ARCHIVED else "",
            page=max(1, min(MAX_PAGE, whole_number(query.get("page"), 1))),
            view=_text(query, "view", MAX_LENGTH),
        )

    @property
    def in_trash(self) -> bool:
        """Whether it asks for the runs in the trash instead of those that are listed."""
        return self.archived == TRASH

    @property
    def is_filtered(self) -> bool:
        return any(getattr(self, name) for name in NO_FILTERS)

    @property
    def query(self) -> str:
        """The same as text, for links: without what is as by default."""
        return _encoded(self.pairs())

    @property
    def view_query(self) -> str:
        """What a saved view keeps: all but the page and the view's own id."""
        return replace(self, page=1, view="").query

    def but(self, **changes: Any) -> str:
        """The query of the same table with other values, from its first page."""
        return replace(self, **{"page": 1, **changes}).query

    def on_page(self, number: int) -> str:
        return replace(self, page=number).query

    def and_where(self, comparison: str) -> str:
        """The query of the runs of which ``comparison`` is true too, not grouped."""
        if not self.filter.strip():
            text = comparison
        elif " or " in self.filter.lower():
            text = f"({self.filter}) and {comparison}"
        else:
            text = f"{self.filter} and {comparison}"
        return self.but(filter=text, group=None)

    def pairs(self, *without: str) -> list[tuple[str, str]]:
        """The parameters that are not as by default, but for those named ``without``: what a form
        that sends these has to send beside them."""
        pairs = [
            ("columns", ",".join(escape(column.spec) for column in self.columns)),
            ("sort", self.sort.spec if self.sort else ""),
            ("filter", self.filter),
            ("name", self.name),
            *(("status", status.value) for status in self.statuses),
            ("who", self.who),
            ("tag", self.tag),
            ("sweep", self.sweep),
            ("group", self.group.spec if self.group else ""),
            ("archived", self.archived),
            ("page", str(self.page) if self.page > 1 else ""),
            ("view", self.view),
        ]
        return [(name, value) for name, value in pairs if value and name not in without]


def table_url(project_id: str, query: str) -> str:
    """The page with the table of that query. Bare, it would show the reader's default view."""
    return f"{reverse('dashboard:project', args=[project_id])}?{query or BARE}"


def _encoded(pairs: list[tuple[str, str]]) -> str:
    return urlencode(pairs).replace("%2C", ",").replace("%2F", "/")


def escape(spec: str) -> str:
    """``spec`` in a list of columns, which are separated by commas."""
    return quote(spec, safe="/ :@") if "," in spec or "%" in spec else spec


def parse_columns(values: Iterable[str]) -> tuple[Column, ...]:
    """The columns of lists whose specs are separated by commas; see ``escape``."""
    specs = (unquote(spec) for value in values for spec in value.split(","))
    parsed = (parse_column(spec) for spec in specs)
    return tuple(dict.fromkeys(column for column in parsed if column))[:MAX_COLUMNS]


def _sort(text: str) -> Sort | None:
    column = parse_column(text.removeprefix("-"))
    if column is None or not column.is_sortable:
        return None
    return Sort(column, descending=text.startswith("-"))


def _text(query: QueryDict, name: str, max_length: int) -> str:
    return query.get(name, "").replace("\x00", "").strip()[:max_length]
