"""What every app's admin shares: its name, and lists that stay quick on a million rows.

A list reads one page by an index and counts no further than it must; it is searched by what
indexes know; it is not sorted by columns that none knows.
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

from trainhub.exceptions import DomainError

if TYPE_CHECKING:  # generic for the type checker alone
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
admin.site.index_title = _("What runs TrainHub")
admin.site.site_url = "/dashboard"

COUNTED_ROWS = 10_000
ACTION_ROWS = 1_000  # an action takes no more at once: each row is a transaction of its own
REASONS_SHOWN = 5


class EstimatingPaginator(AnyPaginator):
    """Counts rows up to COUNTED_ROWS; past that, the whole table by PostgreSQL's own estimate,
    and a filtered list as no longer than that: narrow the filter to see more."""

    object_list: Any

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list
        counted = rows.order_by().values("pk")[: COUNTED_ROWS + 1].count()
        if counted <= COUNTED_ROWS or rows.query.where:
            return min(counted, COUNTED_ROWS)
        return max(counted, estimated_row_count(rows.model, using=rows.db))


def estimated_row_count(model: type[Model], *, using: str) -> int:
    """The table's rows at its last VACUUM or ANALYZE; 0 or less if there was none yet."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [f'"{model._meta.db_table}"'],
        )
        row = cursor.fetchone()
    return int(row[0])


class QuickAdmin(AnyModelAdmin):
    """A list of one page by an index. Subclasses order it by one, and say how it is searched."""

    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each is a count of the whole table
    list_per_page = 50
    list_max_show_all = 200
    sortable_by: ClassVar[Any] = ()

    # How a word of the search is looked up: by the prefix of ids that it begins with, else by
    # ``word_lookups``. All words must be found.
    id_lookups: ClassVar[Mapping[str, str]] = {}
    word_lookups: ClassVar[tuple[str, ...]] = ()

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            with transaction.atomic():  # what the database refuses must not spoil what follows
                return super().get_changelist_instance(request)
        except (DataError, ValueError) as error:
            # A filter made by hand that PostgreSQL cannot take (a NUL, a zone that it does not
            # know): Django then shows the list without it, as for other nonsense.
            raise IncorrectLookupParameters(error) from error

    def get_search_fields(self, request: HttpRequest) -> Any:
        # Not empty: the search box is shown. What is searched is said by get_search_results.
        return [*self.id_lookups.values(), *self.word_lookups]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        for word in search_term.split():
            queryset = queryset.filter(self._found_by(word))
        return queryset, False

    def _found_by(self, word: str) -> Q:
        for prefix, lookup in self.id_lookups.items():
            if word.startswith(prefix):
                return Q(**{lookup: word})
        if not self.word_lookups:
            return Q(pk__in=[])
        condition = Q()
        for lookup in self.word_lookups:
            condition |= Q(**{lookup: word})
        return condition


class ReadOnlyAdmin(QuickAdmin):
    """Rows that are history, or that the system writes: looked at, never edited."""

    actions_on_bottom = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """For actions: rows are not edited, but what they stand for may be acted on."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")


class ReadOnlyInline(AnyTabularInline):
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
    """``act`` on each of the chosen rows by itself, and say how many are ``done`` and why others
    are not. What the rules refuse (DomainError) does not keep the next row from its turn."""
    chosen = list(rows[: ACTION_ROWS + 1])
    if len(chosen) > ACTION_ROWS:
        message = _t("Choose %(limit)d or fewer at once.") % {"limit": ACTION_ROWS}
        model_admin.message_user(request, message, messages.ERROR)
        return
    refused: list[str] = []
    for row in chosen:
        try:
            act(row)
        except DomainError as error:
            refused.append(f"{row.pk}: {error.message}")
    if succeeded := len(chosen) - len(refused):
        message = f"{done}: {succeeded}."
        model_admin.message_user(request, message, messages.SUCCESS)
    if refused:
        message = ngettext(
            "%(count)d was refused. %(reasons)s",
            "%(count)d were refused. %(reasons)s",
            len(refused),
        ) % {"count": len(refused), "reasons": " ".join(refused[:REASONS_SHOWN])}
        model_admin.message_user(request, message, messages.ERROR)
