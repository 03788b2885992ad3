"""All URLs, as they are where a provider is configured."""

from accounts.oidc.urls import urlpatterns as oidc_urls
from trainhub.urls import *  # noqa: F403
from trainhub.urls import urlpatterns as all_urls

urlpatterns = [*oidc_urls, *all_urls]
