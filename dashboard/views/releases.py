"""What releases of a project need, requests for them, and evaluations of checkpoints."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from accounts.roles import Role
from artifacts.evaluation_runs import evaluate
from artifacts.models import Artifact
from core.exceptions import DomainError
from dashboard.forms.releases import EvaluateForm, PolicyForm, RequestForm, RuleForm, initial_of
from dashboard.pages import INVALID_FORM, PageRequest, attempt
from dashboard.views.lookups import get_project
from projects.permissions import requires
from registry import approval
from registry.evaluation_rules import EvaluationRule, create_rule
from registry.release_policy import ReleasePolicy, change_policy
from registry.release_requests import ReleaseRequest

MAX_CHOSEN: Final = 100  # checkpoints that are evaluated at once
DECISIONS: Final = {
    "approve": approval.approve,
    "refuse": approval.refuse,
    "withdraw": approval.withdraw,
}


@require_POST
def decide(request: PageRequest, project_id: str, request_id: str, action: str) -> HttpResponse:
    """``action``: approve, refuse, withdraw."""
    if action not in DECISIONS:
        raise Http404
    visible = ReleaseRequest.objects.visible_to(request.user).with_people()
    asked = get_object_or_404(visible, pk=request_id, project=project_id)
    form = RequestForm(request.POST)
    try:
        notes = form.cleaned_data["notes"] if form.is_valid() else ""
        decided = DECISIONS[action](asked, notes=notes, by=request.user)
    except DomainError as error:
        messages.error(request, str(error.message))
    else:
        params = {"name": decided.name, "state": decided.state_label}
        messages.success(request, _("%(name)s: %(state)s.") % params)
    return redirect("dashboard:checkpoint-release", project_id, asked.run_id, asked.checkpoint_key)


# --- what releases need, and evaluation rules ----------------------------------------------------


@require_safe
def policy(request: PageRequest, project_id: str) -> HttpResponse:
    return _policy_page(request, project_id)


def _policy_page(request: PageRequest, project_id: str, **forms: Any) -> HttpResponse:
    project = get_project(request, project_id)
    known = ReleasePolicy.of(project.pk)
    context = {
        "project": project,
        "policy": known,
        "rules": EvaluationRule.objects.filter(project=project).select_related("created_by"),
        "form": PolicyForm(initial=initial_of(known)),
        "rule_form": RuleForm(),
        **forms,
    }
    status = INVALID_FORM if forms else None
    return render(request, "checkpoints/policy.html", context, status=status)


@requires(Role.OWNER)
@require_POST
def change(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    form = PolicyForm(request.POST)
    if form.is_valid():
        saved = attempt(
            form,
            change_policy,
            project,
            by=request.user,
            needs_approval=form.cleaned_data["needs_approval"],
            gates=form.gates,
        )
        if saved is not None:
            messages.success(request, _("Saved."))
            return redirect("dashboard:release-policy", project.pk)
    return _policy_page(request, project_id, form=form)


@requires(Role.MAINTAINER)
@require_POST
def add_rule(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    form = RuleForm(request.POST)
    if form.is_valid():
        rule = attempt(form, create_rule, project, by=request.user, **form.cleaned_data)
        if rule is not None:
            messages.success(request, _("Saved."))
            return redirect("dashboard:release-policy", project.pk)
    return _policy_page(request, project_id, rule_form=form)


@requires(Role.MAINTAINER)
@require_POST
def remove_rule(request: PageRequest, project_id: str, rule_id: str) -> HttpResponse:
    visible = EvaluationRule.objects.visible_to(request.user)
    get_object_or_404(visible, pk=rule_id, project=project_id).delete()
    messages.success(request, _("The rule is removed."))
    return redirect("dashboard:release-policy", project_id)


# --- evaluations -----------------------------------------------------------------------------


@requires(Role.MEMBER)
@require_POST
def evaluate_chosen(request: PageRequest, project_id: str) -> HttpResponse:
    """Evaluate the chosen checkpoints; what is refused is told, and the others are evaluated."""
    get_project(request, project_id)
    form = EvaluateForm(request.POST)
    visible = Artifact.objects.visible_to(request.user).checkpoints()
    chosen = visible.filter(
        pk__in=request.POST.getlist("checkpoint")[:MAX_CHOSEN], run__project=project_id
    )
    checkpoints = list(chosen.select_related("run__project", "run__recipe").order_by("run", "step"))
    if not form.is_valid():
        messages.error(request, _("Choose a recipe of the kind evaluation."))
    elif not checkpoints:
        messages.error(request, _("Choose checkpoints."))
    else:
        _evaluate_each(request, checkpoints, form.cleaned_data)
    return redirect("dashboard:project-checkpoints", project_id)


def _evaluate_each(
    request: PageRequest, checkpoints: list[Artifact], given: dict[str, Any]
) -> None:
    count = 0
    for checkpoint in checkpoints:
        try:
            evaluate(checkpoint, by=request.user, **given)
        except DomainError as error:
            messages.error(request, str(error.message))
        else:
            count += 1
    if count:
        text = ngettext("%(n)d evaluation is queued.", "%(n)d evaluations are queued.", count)
        messages.success(request, text % {"n": count})
