"""Sign-in, sign-out and passwords; the templates are in templates/registration."""

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LogoutView, PasswordResetDoneView
from django.urls import URLPattern, path, reverse_lazy
from django.views.generic import RedirectView

from accounts.oidc import provider
from accounts.oidc.urls import urlpatterns as oidc_urls
from accounts.sign_in.views import (
    ChangePasswordView,
    ChooseNewPasswordView,
    ResetPasswordView,
    SignInView,
)

urlpatterns: list[URLPattern] = [
    path("login", SignInView.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("login/password", ChangePasswordView.as_view(), name="password_change"),
    path("login/reset", ResetPasswordView.as_view(), name="password_reset"),
    path(
        "login/reset/sent",
        login_not_required(
            PasswordResetDoneView.as_view(template_name="registration/reset_sent.html")
        ),
        name="password_reset_done",
    ),
    path(
        "login/reset/<uidb64>/<token>",
        ChooseNewPasswordView.as_view(),
        name="password_reset_confirm",
    ),
    # The admin's own page for it would not count wrong passwords.
    path("admin/password_change/", RedirectView.as_view(url=reverse_lazy("password_change"))),
]
if provider.is_configured():
    urlpatterns += oidc_urls
