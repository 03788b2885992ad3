"""The pages of sign-in: Django's views with our templates, in templates/registration."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import (
    LoginView,
    PasswordChangeView,
    PasswordResetConfirmView,
    PasswordResetView,
)
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _

from accounts.oidc import provider
from accounts.sign_in.forms import ChangePasswordForm, ResetPasswordForm, can_send
from accounts.sign_in.limits import address_of, count_reset

BACKEND = "accounts.sign_in.backend.LimitedPasswords"


class SignInView(LoginView):
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(provider=provider.name(), **kwargs)


class ChangePasswordView(PasswordChangeView):
    form_class = ChangePasswordForm
    template_name = "registration/change_password.html"
    success_url = reverse_lazy("dashboard:home")

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        return super().get_context_data(
            provider=provider.name(),
            is_linked=provider.is_linked(user),
            has_password=user.is_authenticated and user.has_usable_password(),
            **kwargs,
        )

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, _("Your password has been changed."))
        return super().form_valid(form)


@method_decorator(login_not_required, name="dispatch")
class ResetPasswordView(PasswordResetView):
    """The same answer whether or not there is an account of that e-mail address."""

    form_class = ResetPasswordForm
    template_name = "registration/reset.html"
    email_template_name = "registration/reset_mail.txt"
    subject_template_name = "registration/reset_subject.txt"
    success_url = reverse_lazy("password_reset_done")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not can_send():
            return self.get(request, *args, **kwargs)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        if not count_reset(address_of(self.request), form.cleaned_data["email"]):
            return super(PasswordResetView, self).form_valid(form)  # without a mail
        # Links lead to the configured address: the name in a request is the caller's choice.
        self.extra_email_context = {"public_url": settings.PUBLIC_URL.rstrip("/")}
        return super().form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(can_send=can_send(), contact=settings.CONTACT, **kwargs)


@method_decorator(login_not_required, name="dispatch")
class ChooseNewPasswordView(PasswordResetConfirmView):
    """Whoever follows the link of a mail chooses a password, and is signed in."""

    template_name = "registration/reset_choose.html"
    success_url = reverse_lazy("dashboard:home")
    post_reset_login = True
    post_reset_login_backend = BACKEND
