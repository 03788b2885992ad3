"""The webhooks of a project, or for all projects, and what was delivered to them.

The views are the same for both: without a project's id, the webhooks are those for all projects.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import Any, TypeAlias

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import Role
from dashboard.forms.webhooks import WebhookForm
from dashboard.pages import INVALID_FORM, PageRequest, attempt, page_of
from dashboard.views.lookups import get_project
from notices.access import operates_webhooks, refusal
from notices.actions import change_webhook, create_webhook, delete_webhook, send_test
from notices.models import Delivery, Shape, Webhook
from projects.permissions import requires

DELIVERIES_PER_PAGE = 50

View: TypeAlias = Callable[..., HttpResponse]


def guarded(view: View) -> View:
    """For maintainers of the project; without a project, for operators. The outermost decorator."""

    @requires(Role.MAINTAINER)
    @wraps(view)
    def checked(
        request: PageRequest, project_id: str | None = None, **arguments: Any
    ) -> HttpResponse:
        if project_id is None and not operates_webhooks(request.user):
            raise PermissionDenied(refusal())
        return view(request, project_id, **arguments)

    return checked


def _hook(request: PageRequest, project_id: str | None, hook_id: str) -> Webhook:
    hooks = Webhook.objects.visible_to(request.user)
    return get_object_or_404(hooks, pk=hook_id, project=project_id)


def _url(project_id: str | None, *parts: str) -> str:
    hooks = reverse("dashboard:webhooks", args=[project_id] if project_id else [])
    return "/".join([hooks, *parts])


def _context(request: PageRequest, project_id: str | None, **context: Any) -> dict[str, Any]:
    project = get_project(request, project_id) if project_id else None
    return {"project": project, "hooks_url": _url(project_id), **context}


@guarded
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def webhook_list(request: PageRequest, project_id: str | None) -> HttpResponse:
    """The webhooks, and a form for a new one. A secret that is made up is shown once."""
    project = get_project(request, project_id) if project_id else None
    form = WebhookForm(request.POST if request.method == "POST" else None)
    secret = ""
    if form.is_valid():
        given = form.given()
        made = attempt(form, lambda: create_webhook(project, by=request.user, **given))
        if made is not None:
            hook, secret = made
            if not secret:
                return redirect(_url(project_id, hook.pk))
            form = WebhookForm()
    hooks = Webhook.objects.visible_to(request.user).filter(project=project_id)
    context = _context(request, project_id, hooks=hooks, form=form, secret=secret)
    status = INVALID_FORM if form.is_bound else 200
    return render(request, "webhooks/list.html", context, status=status)


@guarded
@require_safe
def webhook(request: PageRequest, project_id: str | None, hook_id: str) -> HttpResponse:
    """One, and its deliveries, newest first."""
    return _page(request, _hook(request, project_id, hook_id))


def _page(request: PageRequest, hook: Webhook, secret: str = "") -> HttpResponse:
    context = _context(
        request,
        hook.project_id,
        hook=hook,
        hook_url=_url(hook.project_id, hook.pk),
        secret=secret,
        signs=hook.shape == Shape.JSON,
        page=page_of(request, hook.deliveries.all(), DELIVERIES_PER_PAGE),
    )
    return render(request, "webhooks/detail.html", context)


@guarded
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def edit(request: PageRequest, project_id: str | None, hook_id: str) -> HttpResponse:
    """The same form, filled in. Another shape may have a secret made up, which is shown once."""
    hook = _hook(request, project_id, hook_id)
    form = WebhookForm(request.POST if request.method == "POST" else None, instance=copy(hook))
    if form.is_valid():
        given = form.given()
        changed = attempt(form, lambda: change_webhook(hook, **given))
        if changed is not None:
            hook, secret = changed
            if secret:
                return _page(request, hook, secret)
            messages.success(request, _("The webhook %(name)s is saved.") % {"name": hook.name})
            return redirect(_url(project_id, hook.pk))
    context = _context(request, project_id, hook=hook, form=form)
    status = INVALID_FORM if form.errors else 200
    return render(request, "webhooks/edit.html", context, status=status)


@guarded
@require_POST
@never_cache
def webhook_act(
    request: PageRequest, project_id: str | None, hook_id: str, deed: str
) -> HttpResponse:
    """Test it, switch it on or off, rotate its secret, delete it."""
    hook = _hook(request, project_id, hook_id)
    if deed == "test":
        send_test(hook)
        messages.success(request, _("A test is on its way."))
    elif deed == "switch":
        change_webhook(hook, enabled=not hook.enabled)
    elif deed == "rotate" and hook.shape == Shape.JSON:
        return _page(request, hook, hook.rotate())
    elif deed == "delete":
        delete_webhook(hook)
        return redirect(_url(project_id))
    else:
        raise Http404
    return redirect(_url(project_id, hook_id))


@guarded
@require_POST
def send_again(
    request: PageRequest, project_id: str | None, hook_id: str, delivery_id: str
) -> HttpResponse:
    hook = _hook(request, project_id, hook_id)
    get_object_or_404(Delivery, pk=delivery_id, webhook=hook).send_again()
    messages.success(request, _("It will be sent again."))
    return redirect(_url(project_id, hook_id))
