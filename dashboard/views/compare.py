"""Compare runs, also of several projects. Everything that a page shows is in its address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from dashboard import compared_runs
from dashboard.charts.marks import started_ms
from dashboard.charts.words import words
from dashboard.compared_metrics import (
    axes,
    goal_column,
    plot_columns,
    scatter_columns,
    summary_table,
)
from dashboard.compared_runs import Selection
from dashboard.comparison.address import Address
from dashboard.comparison.columns import Column
from dashboard.comparison.differences import section
from dashboard.live import live, moment
from dashboard.operators import sees_commands
from dashboard.pages import STOP_POLLING, PageRequest
from dashboard.theme import theme_of_pictures
from metrics import curves
from metrics.plot_requests import svg_response
from metrics.plots import PlotCurve, PlotOptions, plot_svg
from runs.models import RunCode

MAX_TITLE: Final = 200  # characters
SCALES: Final = ("auto", "linear", "log")
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


def _summary_version(request: PageRequest) -> str:
    """Changes with what the runs say, and each minute while one of them runs."""
    selection = compared_runs.select(request.user, Address.of(request.GET.lists()).all("runs"))
    runs = [
        (run.pk, run.name, run.status, run.updated_at, run.reported_at, bool(run.silent_since))
        for run in selection.runs
    ]
    return f"{runs} {moment(60)}"


@require_safe
@live(_summary_version)
def live_summary(request: PageRequest) -> HttpResponse:
    """The table of the tab Summary as it is now. STOP_POLLING once all of the runs have ended."""
    address = Address.of(request.GET.lists())
    selection = compared_runs.select(request.user, address.all("runs"))
    baseline = selection.place_of(address.one("baseline"))
    context = {
        "address": address,
        "runs": selection.runs,
        "chips": _chips(selection, address, baseline),
        **_summary(request, selection, address, baseline),
    }
    by = "metric" if address.tab == "curves" else context["by"]
    response = render(request, f"compare/_by_{by}.html", context)
    if all(run.is_terminal for run in selection.runs):
        response.status_code = STOP_POLLING
    return response


@require_safe
def plot(request: PageRequest) -> HttpResponse:
    """A picture of the curves of one metric, ``?key=``, in the colors of the page."""
    address = Address.of(request.GET.lists())
    runs = compared_runs.select(request.user, address.all("runs")).runs
    key = request.GET.get("key", "").replace("\x00", "")
    options = PlotOptions(title=key[:MAX_TITLE], theme=theme_of_pictures(request))
    places = {run.pk: place for place, run in enumerate(runs)}
    found = curves.curves(list(places), [key], width=options.width) if runs else []
    drawn = [
        PlotCurve(
            curve,
            runs[places[curve.run_id]].name,
            started_ms(runs[places[curve.run_id]]),
            color=places[curve.run_id],
        )
        for curve in found
    ]
    return svg_response(plot_svg(drawn, options))


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
    return {"q": text, "found": rows}


# --- tabs --------------------------------------------------------------------------------------


def _differences(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    subjects = compared_runs.configuration(selection.runs, commands=sees_commands(request))
    return _sections(subjects, selection, baseline)


def _code(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    commands = sees_commands(request)
    subjects = compared_runs.code_and_data(selection.runs, commands=commands)
    return {
        **_sections(subjects, selection, baseline),
        "shows_commands": commands,
        "code_diffs": _code_diffs(selection, baseline),
    }


def _code_diffs(selection: Selection, baseline: int) -> list[dict[str, Any]]:
    """Where the code of each run is shown next to the baseline's, if both have brought some."""
    runs = list(selection.runs)
    with_code = set(
        RunCode.objects.filter(run__in=runs, bundle__isnull=False).values_list("run_id", flat=True)
    )
    first = runs[baseline]
    if first.pk not in with_code:
        return []
    return [
        {
            "run": run,
            "url": f"{reverse('dashboard:run-code', args=[run.project_id, run.pk])}"
            f"?{urlencode({'against': first.pk})}",
        }
        for run in runs
        if run.pk != first.pk and run.pk in with_code
    ]


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
    table = summary_table(selection.runs, address, baseline, timezone.now())
    runs = [
        {
            "id": run.pk,
            "name": run.name,
            "started_ms": started_ms(run),
            "finished": run.is_terminal,
            "log_url": reverse("dashboard:run-log", args=[run.project_id, run.pk]),
        }
        for run in selection.runs
    ]
    return {
        **table,
        "chart_words": words(),
        "curves": {"runs": runs, "keys": table["chosen"].keys},
        "pictures": [(key, _picture(selection, key)) for key in table["chosen"].keys],
    }


def _picture(selection: Selection, key: str) -> str:
    query = {"runs": ",".join(run.pk for run in selection.runs), "key": key}
    return f"{reverse('dashboard:compare-plot')}?{urlencode(query)}"


def _parallel(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    columns = plot_columns(selection.runs, timezone.now())
    shown = axes(columns, selection.runs, address)
    color = _named(columns, address.one("color")) or goal_column(columns, selection.runs)
    return {
        **_plot(selection, shown, [*shown, *([color] if color else [])]),
        "choices": _choices(columns),
        "axes": [column.id for column in shown],
        "color": color,
    }


def _scatter(
    request: PageRequest, selection: Selection, address: Address, baseline: int
) -> dict[str, Any]:
    columns = plot_columns(selection.runs, timezone.now())
    x, y, color = scatter_columns(columns, selection.runs, address)
    shown = [column for column in (x, y, color) if column]
    return {
        **_plot(selection, shown, shown),
        "choices": _choices(columns),
        "x": x,
        "y": y,
        "color": color,
        "scale_x": address.choice("xscale", SCALES),
        "scale_y": address.choice("yscale", SCALES),
    }


def _named(columns: Sequence[Column], id_: str) -> Column | None:
    return next((column for column in columns if column.id == id_), None)


def _choices(columns: Sequence[Column]) -> dict[str, list[Column]]:
    """The columns by group, those that differ before the others."""
    groups: dict[str, list[Column]] = {}
    for column in sorted(columns, key=lambda column: not column.differs):
        groups.setdefault(column.group, []).append(column)
    return groups


def _plot(selection: Selection, shown: Sequence[Column], drawn: Sequence[Column]) -> dict[str, Any]:
    """What the scripts draw, and the same as the rows of a table."""
    runs = [
        {
            "id": run.pk,
            "name": run.name,
            "project": run.project.name,
            "url": reverse("dashboard:run", args=[run.project_id, run.pk]),
        }
        for run in selection.runs
    ]
    columns = {column.id: column.as_json() for column in drawn}
    return {
        "shown": shown,
        "plot": {"runs": runs, "columns": list(columns.values())},
        "plot_rows": [
            (run, [(column, column.values[place]) for column in shown])
            for place, run in enumerate(selection.runs)
        ],
    }


Context = Callable[[PageRequest, Selection, Address, int], dict[str, Any]]
CONTEXTS: Final[dict[str, Context]] = {
    "curves": _curves,
    "differences": _differences,
    "summary": _summary,
    "parallel": _parallel,
    "scatter": _scatter,
    "code": _code,
}
