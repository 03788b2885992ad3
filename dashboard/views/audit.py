"""The audit: who has changed what."""

from __future__ import annotations

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit.exports import EntryFormat
from audit.models import Entry
from audit.search import Cursor, page
from audit.viewsets import entries_file
from dashboard.forms.audit import AuditForm
from dashboard.pages import PageRequest


@require_safe
@never_cache
def audit_list(request: PageRequest) -> HttpResponse:
    """A page of the entries that the reader may see; ``?after=``: where the page before ended."""
    form = AuditForm(request.GET, user=request.user)
    after = Cursor.parse(request.GET.get("after", ""))
    found = page(form.chosen.apply(Entry.objects.visible_to(request.user)), after=after)
    context = {"form": form, "page": found, "is_first": after is None}
    return render(request, "audit/list.html", context)


@require_safe
def audit_csv(request: PageRequest) -> HttpResponseBase:
    """All that the filters choose."""
    form = AuditForm(request.GET, user=request.user)
    entries = form.chosen.apply(Entry.objects.visible_to(request.user))
    return entries_file(entries, EntryFormat.CSV)
