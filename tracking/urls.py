"""The MLflow protocol below /api. Each subject lists its own addresses."""

from django.urls import re_path

from tracking import registry_urls
from tracking.wire import endpoint_not_found

urlpatterns = [
    *registry_urls.urlpatterns,
    re_path(r"^.*$", endpoint_not_found),
]
