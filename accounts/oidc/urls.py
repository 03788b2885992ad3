"""URLs that there are only if a provider is configured. allauth finds them by their names."""

from django.urls import path

from accounts.oidc import views
from accounts.oidc.provider import ID

PROVIDER = {"provider_id": ID}

urlpatterns = [
    path("login/oidc", views.begin, PROVIDER, name="openid_connect_login"),
    path("login/oidc/callback", views.callback, PROVIDER, name="openid_connect_callback"),
]
