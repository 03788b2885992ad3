"""The two addresses of the flow: where it begins, and where the provider sends people back to."""

from __future__ import annotations

import logging

import requests
from allauth.core.context import request_context
from allauth.socialaccount.providers.openid_connect import views as allauth_views
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.oidc.adapters import SignInRefused

logger = logging.getLogger(__name__)


@login_not_required
@never_cache
@require_POST
def begin(request: HttpRequest, provider_id: str) -> HttpResponse:
    """To the provider. A POST with a CSRF token: no other site signs anyone in here."""
    try:
        with request_context(request):
            response: HttpResponse = allauth_views.login(request, provider_id)
            return response
    except requests.RequestException as error:
        logger.error("the OpenID Connect provider cannot be reached: %s", error)
        raise SignInRefused(_("The sign-in provider cannot be reached. Try again later.")) from None


@login_not_required
@never_cache
@require_safe
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Back from the provider, with a code or an error."""
    with request_context(request):  # allauth has middleware for it, which would run for all pages
        response: HttpResponse = allauth_views.callback(request, provider_id)
        return response
