"""Checkpoints of a project: all of them, ranked, and released; and the model card of each."""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import Any, Final

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.markdown import to_html
from core.text import neutral
from dashboard.checkpoint_table import checkpoint_table, compared
from dashboard.decisions import is_decided
from dashboard.forms.checkpoints import CheckpointFilterForm, DecisionForm, LeaderboardForm
from dashboard.forms.releases import EvaluateForm
from dashboard.pages import INVALID_FORM, PageRequest, page_of
from dashboard.views.lookups import get_checkpoint, get_project
from metrics.plot_requests import svg_response
from projects.access import may
from projects.models import Project
from registry import approval, leaderboards, releases
from registry.checkpoints import checkpoints_of, main_metrics, rows_of
from registry.model_card_curves import curve_keys, curve_svg
from registry.model_card_facts import facts_of
from registry.model_card_files import model_card_response
from registry.model_card_metadata import front_matter
from registry.model_cards import body
from registry.release_gates import check
from registry.release_policy import ReleasePolicy
from registry.release_requests import ReleaseRequest
from runs.models.run_queryset import DOCUMENTS

CHECKPOINTS_PER_PAGE: Final = 50
PLACES_PER_PAGE: Final = 50
TAGS_PER_PAGE: Final = 50
REQUESTS_SHOWN: Final = 20
RUN_DOCUMENTS: Final = [f"run__{name}" for name in sorted(DOCUMENTS)]


@require_safe
def checkpoint_list(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    form = CheckpointFilterForm(request.GET)
    visible = checkpoints_of(project).visible_to(request.user)
    # The ids of a page are found in indexes; only its own rows are read.
    page = Paginator(form.ids(visible), CHECKPOINTS_PER_PAGE).get_page(request.GET.get("page"))
    ids_shown = list(page)
    found = (
        Artifact.objects.select_related("run__created_by")
        .defer(*RUN_DOCUMENTS)
        .prefetch_related("tags__applied_by")
        .in_bulk(ids_shown)
    )
    shown = [found[pk] for pk in ids_shown if pk in found]  # in their order; one may be deleted
    table = checkpoint_table(shown, main_metrics(project))
    evaluate_form = EvaluateForm()
    context = {
        "project": project,
        "form": form,
        "page": page,
        "table": table,
        "evaluate_form": evaluate_form,
        "can_evaluate": _can_evaluate(request, project, evaluate_form),
    }
    return render(request, "checkpoints/list.html", context)


def _can_evaluate(request: PageRequest, project: Project, form: EvaluateForm) -> bool:
    is_possible = not project.is_archived and form.has_recipes
    return is_possible and may(request.user, project.pk, Role.MEMBER)


# --- leaderboard ---------------------------------------------------------------------------------


@require_safe
def leaderboard(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    context = _board(request, project)
    paginator = Paginator(context["ranks"], PLACES_PER_PAGE)
    page = paginator.get_page(request.GET.get("page"))
    names, places = leaderboards.places(list(page), first=page.start_index())
    context |= {"project": project, "page": page, "names": names, "places": places}
    return render(request, "checkpoints/leaderboard.html", context)


@require_safe
def leaderboard_csv(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    board = _board(request, project)
    names, places = leaderboards.places(board["ranks"])
    text = io.StringIO()
    writer = csv.writer(text)
    measure = board["measure"]
    key = "" if measure is None else measure.key
    heading = ["rank", "run_id", "run_name", "checkpoint_id", "step", key, "measured_at_step"]
    writer.writerow([neutral(name) for name in [*heading, *names]])
    for place in places:
        cells = [
            place.number,
            place.run.pk,
            place.run.name,
            place.checkpoint.pk,
            place.checkpoint.step,
            place.rank.value,
            place.rank.step,
            *("" if value is None else value for value in place.values),
        ]
        writer.writerow(
            [cell if isinstance(cell, int | float) else neutral(str(cell)) for cell in cells]
        )
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8; header=present")
    name = content_disposition_header(
        as_attachment=True, filename=f"{project.name}-checkpoints.csv"
    )
    response["Content-Disposition"] = name or "attachment"
    return response


def _board(request: PageRequest, project: Project) -> dict[str, Any]:
    """The form, what is ranked by (None in a project without anything to rank by) and the ranks."""
    measures = leaderboards.measures(project)
    names = [
        (
            measure.name,
            _("%(key)s (metric)") % {"key": measure.key} if measure.is_metric else measure.key,
        )
        for measure in measures
    ]
    form = LeaderboardForm(names, request.GET)
    asked = form.cleaned_data.get("by")
    default = measures[0] if measures else None
    measure = leaderboards.measure_named(asked) if asked else default
    if measure is None:
        return {"form": form, "measure": None, "ranks": [], "lowest_first": False}
    order = form.cleaned_data.get("order")
    lowest_first = order == "lowest" if order else measure.lowest_first
    ranks = leaderboards.ranking(project, measure, lowest_first=lowest_first)
    return {"form": form, "measure": measure, "ranks": ranks, "lowest_first": lowest_first}


# --- releases ------------------------------------------------------------------------------------


@require_safe
def release_list(request: PageRequest, project_id: str) -> HttpResponse:
    """Candidates, the present releases, and the history of all decisions."""
    project = get_project(request, project_id)
    metrics = main_metrics(project)
    context = {
        "project": project,
        "candidates": checkpoint_table(releases.in_force(project, TagValue.CANDIDATE), metrics),
        "released": checkpoint_table(releases.in_force(project, TagValue.RELEASED), metrics),
        "page": page_of(request, releases.history(project), TAGS_PER_PAGE),
        "requests": ReleaseRequest.objects.filter(project=project).open().with_people(),
    }
    return render(request, "checkpoints/releases.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def release(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    """All that a decision about a checkpoint needs; and the decision, with its reason."""
    checkpoint = get_checkpoint(request, project_id, run_id, artifact_id)
    project = checkpoint.run.project
    present = [
        other
        for other in releases.in_force(project, TagValue.RELEASED)
        if other.pk != checkpoint.pk
    ]
    form = DecisionForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _decided(request, form, checkpoint):
        return redirect("dashboard:project-releases", project_id)
    context = {
        "project": project,
        "run": checkpoint.run,
        "checkpoint": checkpoint,
        "form": form,
        "present": present,
        "TagValue": TagValue,
        **_release_basis(request, checkpoint),
        **_decision_basis(checkpoint, present),
    }
    status = INVALID_FORM if form.errors else None
    return render(request, "checkpoints/release.html", context, status=status)


def _decided(request: PageRequest, form: DecisionForm, checkpoint: Artifact) -> bool:
    value, notes = TagValue(form.cleaned_data["tag"]), form.cleaned_data["notes"]
    if value == TagValue.RELEASED:
        archive, act = form.cleaned_data["archive"], approval.release_or_ask
        release = partial(act, checkpoint, notes=notes, replaces_others=archive, by=request.user)
        return is_decided(request, form, release, checkpoint, value)
    tag = partial(checkpoint.tag, value, notes=notes, by=request.user)
    return is_decided(request, form, tag, checkpoint, value)


def _release_basis(request: PageRequest, checkpoint: Artifact) -> dict[str, Any]:
    """What the project demands, whether the checkpoint has it, and who has asked and decided."""
    policy = ReleasePolicy.of(checkpoint.run.project_id)
    requests = list(
        ReleaseRequest.objects.filter(checkpoint=checkpoint).with_people()[:REQUESTS_SHOWN]
    )
    return {
        "policy": policy,
        "gates": check(checkpoint, policy.gates),
        "open_request": next((it for it in requests if it.is_open), None),
        "decided_requests": [it for it in requests if not it.is_open],
        "reader": request.user,
    }


def _decision_basis(checkpoint: Artifact, present: list[Artifact]) -> dict[str, Any]:
    keys = main_metrics(checkpoint.run.project)
    row, *others = rows_of([checkpoint, *present[:1]], keys)
    facts = facts_of(checkpoint, keys)
    return {
        "facts": facts,
        "comparison": compared(row, others[0] if others else None, keys),
        "compared_with": present[0] if present else None,
        "history": list(reversed(facts.tags)),
    }


# --- model cards ---------------------------------------------------------------------------------


@require_safe
def model_card(
    request: PageRequest, project_id: str, run_id: str, artifact_id: str
) -> HttpResponse:
    checkpoint = get_checkpoint(request, project_id, run_id, artifact_id)
    facts = facts_of(checkpoint)
    context = {
        "project": checkpoint.run.project,
        "run": checkpoint.run,
        "checkpoint": checkpoint,
        "front_matter": front_matter(facts),
        "body": to_html(body(facts, has_pictures=False)),
        "curves": curve_keys(facts),
    }
    return render(request, "checkpoints/model_card.html", context)


@require_safe
def model_card_curve(
    request: PageRequest, project_id: str, run_id: str, artifact_id: str
) -> HttpResponse:
    """One of the card's pictures."""
    facts = facts_of(get_checkpoint(request, project_id, run_id, artifact_id))
    key = request.GET.get("key", "")
    if key not in curve_keys(facts):
        raise Http404
    return svg_response(curve_svg(facts, key))


@require_safe
def model_card_file(
    request: PageRequest, project_id: str, run_id: str, artifact_id: str
) -> HttpResponse:
    """The same as a download, in the language of the page."""
    return model_card_response(get_checkpoint(request, project_id, run_id, artifact_id))
