"""What is done with the selected runs of a project's table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from django.contrib import messages
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.roles import Role
from dashboard.comparison import address as comparison
from dashboard.forms.run_table import TagRunsForm
from dashboard.pages import PageRequest
from dashboard.run_table import query
from dashboard.run_table.address import Address, table_url
from dashboard.views.lookups import get_project
from dashboard.views.run_table import runs_of
from metrics.exports import ExportFormat, export
from projects.access import require
from projects.models import Project
from projects.permissions import requires
from runs import bulk
from runs.models import Run
from tracking.errors import InvalidParameter

MAX_RUNS: Final = 1000  # of one action
REFUSALS_SHOWN: Final = 5


@requires(Role.VIEWER)
@require_POST
def act(request: PageRequest, project_id: str) -> HttpResponseBase:
    """Do ``action`` with the runs ``runs``, or with ``all`` that the address ``query`` matches."""
    project = get_project(request, project_id)
    address = Address.of(QueryDict(request.POST.get("query", "")[:10_000]))
    back = table_url(project.pk, address.query)
    runs = _selected(request, project, address)
    if runs is None:
        return redirect(back)
    action = request.POST.get("action", "")
    if action == "compare":
        return _compare(request, runs, back)
    if action in ExportFormat.values:
        return _export(runs, project, ExportFormat(action))
    done = ACTIONS.get(action)
    if done is not None:
        require(request.user, project.pk, Role.MEMBER)
        done(request, runs)
    return redirect(back)


def _selected(request: PageRequest, project: Project, address: Address) -> list[Run] | None:
    """The selected runs in the order of the table, or newest first if that is of values at the best
    step; None if that is refused, with a message."""
    wanted = [pk for pk in request.POST.getlist("runs") if "\x00" not in pk]
    wanted = [pk for value in wanted for pk in value.split(",")]
    visible = Run.objects.visible_in(project.pk, request.user).listed()
    if request.POST.get("all"):
        try:
            wanted = query.matching_ids(
                runs_of(request, project, address), address, limit=MAX_RUNS + 1
            )
        except InvalidParameter as error:
            messages.error(request, error.message)
            return None
    if len(wanted) > MAX_RUNS:
        text = _("At most %(limit)d runs at once: filter the table first.")
        messages.error(request, text % {"limit": MAX_RUNS})
        return None
    by_id = visible.select_related("project", "recipe").in_bulk(wanted)
    runs = [by_id[pk] for pk in dict.fromkeys(wanted) if pk in by_id]
    if not runs:
        messages.error(request, _("No run is selected."))
        return None
    return runs


def _compare(request: PageRequest, runs: list[Run], back: str) -> HttpResponse:
    if len(runs) > comparison.MAX_RUNS:
        text = _("At most %(limit)d runs can be compared.") % {"limit": comparison.MAX_RUNS}
        messages.error(request, text)
        return redirect(back)
    return redirect(comparison.url_of(run.pk for run in runs))


def _export(runs: list[Run], project: Project, form: ExportFormat) -> StreamingHttpResponse:
    """The metrics of the runs, every point."""
    selected = Run.objects.filter(pk__in=[run.pk for run in runs])
    response = StreamingHttpResponse(export(selected, form), content_type=form.content_type)
    disposition = content_disposition_header(True, f"{project.pk}-{len(runs)}.{form}")
    response["Content-Disposition"] = disposition or ""
    return response


# --- actions ---------------------------------------------------------------------------------


def _cancel(request: PageRequest, runs: list[Run]) -> None:
    outcome = bulk.cancel(runs, by=request.user)
    _tell(
        request,
        outcome,
        _("%(n)d cancelled or stopping."),
    )


def _pause(request: PageRequest, runs: list[Run]) -> None:
    outcome = bulk.pause(runs, by=request.user)
    _tell(request, outcome, _("%(n)d paused or stopping."))


def _continue(request: PageRequest, runs: list[Run]) -> None:
    outcome = bulk.continue_paused(runs, by=request.user)
    _tell(request, outcome, _("%(n)d queued again."))


def _tag(request: PageRequest, runs: list[Run]) -> None:
    form = TagRunsForm(request.POST)
    if not form.is_valid():
        errors = [error for listed in form.errors.values() for error in listed]
        messages.error(request, _("Tag: %(errors)s") % {"errors": " ".join(map(str, errors))})
        return
    key, text = form.cleaned_data["tag_key"], form.cleaned_data["tag_value"]
    outcome = bulk.tag(runs, key=key, text=text or None, by=request.user)
    _tell(request, outcome, _("%(n)d tagged."))


def _archive(request: PageRequest, runs: list[Run]) -> None:
    outcome = bulk.archive(runs, by=request.user)
    _tell(request, outcome, _("%(n)d archived."), undo="unarchive")


def _unarchive(request: PageRequest, runs: list[Run]) -> None:
    outcome = bulk.unarchive(runs, by=request.user)
    _tell(request, outcome, _("%(n)d listed again."), undo="archive")


def _delete(request: PageRequest, runs: list[Run]) -> None:
    outcome = bulk.delete(runs, by=request.user)
    _tell(request, outcome, _("%(n)d moved to the trash."), undo="restore")


def _restore(request: PageRequest, runs: list[Run]) -> None:
    outcome = bulk.restore(runs, by=request.user)
    _tell(request, outcome, _("%(n)d restored from the trash."), undo="delete")


ACTIONS: Final[dict[str, Callable[[PageRequest, list[Run]], Any]]] = {
    "cancel": _cancel,
    "pause": _pause,
    "continue": _continue,
    "tag": _tag,
    "archive": _archive,
    "unarchive": _unarchive,
    "delete": _delete,
    "restore": _restore,
}


def _tell(request: PageRequest, outcome: bulk.Outcome, text: str, *, undo: str = "") -> None:
    """``text``: with %(n)d. ``undo``: the action that takes it back; templates/projects/detail.html
    has its form."""
    if outcome.done:
        told = text % {"n": len(outcome.done)}
        if undo:
            told = format_html(
                '{} <button type="submit" form="undo-{}" name="runs" value="{}" class="quiet">{}'
                "</button>",
                told,
                undo,
                ",".join(run.pk for run in outcome.done),
                _("Undo"),
            )
        messages.success(request, told)
    by_reason = Counter(str(refusal.reason) for refusal in outcome.refused)
    for reason, count in by_reason.items():
        names = [one.run.name for one in outcome.refused if str(one.reason) == reason]
        shown = ", ".join(names[:REFUSALS_SHOWN]) + (" …" if count > REFUSALS_SHOWN else "")
        params = {"n": count, "names": shown, "reason": reason}
        messages.warning(request, _("%(n)d refused (%(names)s): %(reason)s") % params)
