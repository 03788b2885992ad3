"""Compare runs, also of several projects. Everything that a page shows is in its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from dashboard import compared_runs
from dashboard.compared_metrics import Chosen, summary_table
from dashboard.compared_runs import Selection
from dashboard.comparison.address import Address
from dashboard.comparison.differences import section
from dashboard.pages import PageRequest

EQUAL_ROWS_OPEN: Final = 1  # runs; of one alone everything is "equal"


@require_safe
def compare(request: PageRequest) -> HttpResponse:
    address = Address.of(request.GET.lists())
    selection = compared_runs.select(request.user, address.all("runs"))
    baseline = selection.place_of(address.one("baseline"))
    context = {
        "address": address,
        "tabs": _tabs(address),
        "runs": selection.runs,
        "chips": _chips(selection, address, baseline),
        "problems": selection.problems,
        "baseline": baseline,
        "several_projects": len({run.project_id for run in selection.runs}) > 1,
        **_search(request, address, selection),
    }
    if selection.runs:
        context |= CONTEXTS[address.tab](request, selection, address, baseline)
    return render(request, f"compare/{address.tab}.html", context)


@require_safe
def found(request: PageRequest) -> HttpResponse:
    """The runs that a search finds, as the list that the page shows."""
    address = Address.of(request.GET.lists())
    selection = compared_runs.select(request.user, address.all("runs"))
    return render(request, "compare/_found.html", _search(request, address, selection))


def _tabs(address: Address) -> list[dict[str, Any]]:
    labels = {
        "curves": _("Curves"),
        "differences": _("Differences"),
        "summary": _("Summary"),
        "parallel": _("Parallel coordinates"),
        "scatter": _("Scatter plot"),
        "code": _("Code and data"),
    }
    return [
        {"name": name, "label": label, "url": str(address.but(tab=name))}
        for name, label in labels.items()
    ]


def _chips(selection: Selection, address: Address, baseline: int) -> list[dict[str, Any]]:
    return [
        {
            "run": run,
            "is_baseline": place == baseline,
            "without": str(address.without(run.pk)),
            "as_baseline": str(address.but(baseline=run.pk)),
        }
        for place, run in enumerate(selection.runs)
    ]


def _search(request: PageRequest, address: Address, selection: Selection) -> dict[str, Any]:
    """Runs to add: asked for by ``q``, or where there is nothing yet to compare."""
    text = request.GET.get("q")
    ids = [run.pk for run in selection.runs]
    rows = []
    if text is not None or not ids:
        for run in compared_runs.search(request.user, text or "", without=ids):
            rows.append({"run": run, "url": str(address.but(runs=[*ids, run.pk]))})
    return {"q": text, "found": rows, "hidden": list(address.pairs())}


# --- tabs --------------------------------------------------------------------------------------


def _differences(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    subjects = compared_runs.configuration(selection.runs, for_operator=_is_operator(request))
    return _sections(subjects, selection, baseline)


def _code(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    is_operator = _is_operator(request)
    subjects = compared_runs.code_and_data(selection.runs, for_operator=is_operator)
    return {**_sections(subjects, selection, baseline), "is_operator": is_operator}


def _sections(
    subjects: list[compared_runs.Subject], selection: Selection, baseline: int
) -> dict[str, Any]:
    sections = [section(subject.name, subject.runs, baseline) for subject in subjects]
    return {
        "sections": sections,
        "differing": sum(len(found.differing) for found in sections),
        "equal": sum(len(found.equal) for found in sections),
        "equal_open": len(selection.runs) <= EQUAL_ROWS_OPEN,
    }


def _summary(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    return summary_table(selection.runs, address, baseline, timezone.now())


def _curves(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    return {"chosen": Chosen.of(selection.runs, address)}


def _parallel(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    return {}


def _scatter(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    return {}


def _is_operator(request: PageRequest) -> bool:
    return request.user.has_perm("runs.view_recipe")


Context = Callable[[PageRequest, Selection, Address, int], dict[str, Any]]
CONTEXTS: Final[dict[str, Context]] = {
    "curves": _curves,
    "differences": _differences,
    "summary": _summary,
    "parallel": _parallel,
    "scatter": _scatter,
    "code": _code,
}
