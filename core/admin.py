"""Base classes of every app's admin: the site's name, and lists that stay fast on a million rows.

A list reads one page through an index, limits its row count, and searches and sorts only by
indexed columns.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db import DataError, connections, transaction
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from core.exceptions import DomainError

if TYPE_CHECKING:  # generic only for the type checker
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyTabularInline = admin.TabularInline[Any, Any]
    AnyPaginator = Paginator[Any]
else:
    AnyModelAdmin = admin.ModelAdmin
    AnyTabularInline = admin.TabularInline
    AnyPaginator = Paginator

M = TypeVar("M", bound=Model)

admin.site.site_title = _("TrainHub operations")
admin.site.site_header = _("TrainHub operations")
admin.site.index_title = _("Administration")
admin.site.site_url = "/dashboard"

MAX_COUNTED_ROWS = 10_000
MAX_ACTION_ROWS = 1_000  # per action: each row is its own transaction
REASONS_SHOWN = 5


class EstimatingPaginator(AnyPaginator):
    """Counts at most MAX_COUNTED_ROWS rows. Beyond that, an unfiltered list uses PostgreSQL's
    estimate for the table, and a filtered list is cut off: narrow the filter to see more."""

    object_list: Any

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list
        counted = rows.order_by().values("pk")[: MAX_COUNTED_ROWS + 1].count()
        if counted <= MAX_COUNTED_ROWS or rows.query.where:
            return min(counted, MAX_COUNTED_ROWS)
        return max(counted, estimated_row_count(rows.model, using=rows.db))


def estimated_row_count(model: type[Model], *, using: str) -> int:
    """Row count as of the last VACUUM or ANALYZE; 0 or less if neither has run yet."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [f'"{model._meta.db_table}"'],
        )
        row = cursor.fetchone()
    return int(row[0])


class LargeTableAdmin(AnyModelAdmin):
    """A list that reads one page through an index. Subclasses set an indexed ordering."""

    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each facet counts the whole table
    list_per_page = 50
    list_max_show_all = 200
    sortable_by: ClassVar[Any] = ()

    # ``id_lookups`` maps an id prefix to the lookup for search words that start with it; all other
    # words use ``word_lookups``. Every word must match.
    id_lookups: ClassVar[Mapping[str, str]] = {}
    word_lookups: ClassVar[tuple[str, ...]] = ()

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            with transaction.atomic():  # an error must not break later queries
                return super().get_changelist_instance(request)
        except (DataError, ValueError) as error:
            # A hand-written filter that PostgreSQL rejects (a NUL, an unknown time zone): Django
            # then shows the list without it, as it does for other invalid filters.
            raise IncorrectLookupParameters(error) from error

    def get_search_fields(self, request: HttpRequest) -> Any:
        # Must not be empty, or Django hides the search box. get_search_results does the search.
        return [*self.id_lookups.values(), *self.word_lookups]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        for word in search_term.split():
            queryset = queryset.filter(self._word_condition(word))
        return queryset, False

    def _word_condition(self, word: str) -> Q:
        for prefix, lookup in self.id_lookups.items():
            if word.startswith(prefix):
                return Q(**{lookup: word})
        if not self.word_lookups:
            return Q(pk__in=[])
        condition = Q()
        for lookup in self.word_lookups:
            condition |= Q(**{lookup: word})
        return condition


class ReadOnlyAdmin(LargeTableAdmin):
    """Rows that are history or written by the system: read-only."""

    actions_on_bottom = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """For actions: rows are read-only, but actions may still operate on what they represent."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")


class ReadOnlyInline(AnyTabularInline):
    """Related rows shown on a parent's page: read-only."""

    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def act_on_each(
    model_admin: AnyModelAdmin,
    request: HttpRequest,
    rows: QuerySet[M],
    act: Callable[[M], object],
    *,
    done: str | Promise,
) -> None:
    """Call ``act`` on each selected row, then report how many succeeded (labeled ``done``) and why
    the others failed. A DomainError on one row does not stop the rest."""
    selected = list(rows[: MAX_ACTION_ROWS + 1])
    if len(selected) > MAX_ACTION_ROWS:
        message = _t("Select at most %(limit)d rows.") % {"limit": MAX_ACTION_ROWS}
        model_admin.message_user(request, message, messages.ERROR)
        return
    refused: list[str] = []
    for row in selected:
        try:
            act(row)
        except DomainError as error:
            refused.append(f"{row.pk}: {error.message}")
    if succeeded := len(selected) - len(refused):
        message = f"{done}: {succeeded}."
        model_admin.message_user(request, message, messages.SUCCESS)
    if refused:
        message = ngettext(
            "%(count)d was refused. %(reasons)s",
            "%(count)d were refused. %(reasons)s",
            len(refused),
        ) % {"count": len(refused), "reasons": " ".join(refused[:REASONS_SHOWN])}
        model_admin.message_user(request, message, messages.ERROR)
