"""The MLflow protocol below /api. Each subject lists its own addresses."""

from django.urls import re_path

from tracking import artifacts, experiments, metrics, registry_urls, runs, server
from tracking.wire import endpoint_not_found

urlpatterns = [
    *artifacts.urlpatterns,
    *experiments.urlpatterns,
    *metrics.urlpatterns,
    *registry_urls.urlpatterns,
    *runs.urlpatterns,
    *server.urlpatterns,
    re_path(r"^.*$", endpoint_not_found),
]
