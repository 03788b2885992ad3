"""The webhooks of a project, and what was delivered to them."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import Role
from dashboard.forms.webhooks import WebhookForm
from dashboard.pages import INVALID_FORM, PageRequest, page_of
from dashboard.views.lookups import get_project
from notices.actions import send_test
from notices.models import Delivery, Shape, Webhook
from projects.permissions import requires

DELIVERIES_PER_PAGE = 50


def _hook(request: PageRequest, project_id: str, hook_id: str) -> Webhook:
    hooks = Webhook.objects.visible_to(request.user)
    return get_object_or_404(hooks, pk=hook_id, project=project_id)


@requires(Role.MAINTAINER)
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def webhook_list(request: PageRequest, project_id: str) -> HttpResponse:
    """The webhooks, and a form for a new one. A secret that is made up is shown once."""
    project = get_project(request, project_id)
    form = WebhookForm(request.POST if request.method == "POST" else None)
    secret = ""
    if form.is_valid():
        hook, secret = form.create(project, by=request.user)
        if not secret:
            return redirect("dashboard:webhook", project.pk, hook.pk)
        form = WebhookForm()
    hooks = Webhook.objects.visible_to(request.user).filter(project=project)
    context = {"project": project, "hooks": hooks, "form": form, "secret": secret}
    status = INVALID_FORM if form.is_bound else 200
    return render(request, "webhooks/list.html", context, status=status)


@requires(Role.MAINTAINER)
@require_safe
def webhook(request: PageRequest, project_id: str, hook_id: str) -> HttpResponse:
    """One, and its deliveries, newest first."""
    return _page(request, project_id, _hook(request, project_id, hook_id))


def _page(request: PageRequest, project_id: str, hook: Webhook, secret: str = "") -> HttpResponse:
    context = {
        "project": get_project(request, project_id),
        "hook": hook,
        "secret": secret,
        "signs": hook.shape == Shape.JSON,
        "page": page_of(request, hook.deliveries.all(), DELIVERIES_PER_PAGE),
    }
    return render(request, "webhooks/detail.html", context)


@requires(Role.MAINTAINER)
@require_POST
@never_cache
def webhook_act(request: PageRequest, project_id: str, hook_id: str, deed: str) -> HttpResponse:
    """Test it, switch it on or off, rotate its secret, delete it."""
    hook = _hook(request, project_id, hook_id)
    if deed == "test":
        send_test(hook)
        messages.success(request, _("A test is on its way."))
    elif deed == "switch":
        hook.enabled = not hook.enabled
        hook.save(update_fields=["enabled"])
    elif deed == "rotate" and hook.shape == Shape.JSON:
        return _page(request, project_id, hook, hook.rotate())
    elif deed == "delete":
        hook.delete()
        return redirect("dashboard:webhooks", project_id)
    else:
        raise Http404
    return redirect("dashboard:webhook", project_id, hook_id)


@requires(Role.MAINTAINER)
@require_POST
def send_again(
    request: PageRequest, project_id: str, hook_id: str, delivery_id: str
) -> HttpResponse:
    hook = _hook(request, project_id, hook_id)
    get_object_or_404(Delivery, pk=delivery_id, webhook=hook).send_again()
    messages.success(request, _("It will be sent again."))
    return redirect("dashboard:webhook", project_id, hook_id)
