"""URLs of the MLflow protocol below /api. Each module lists its own."""

from django.urls import re_path

from tracking import artifacts, direct_transfers, experiments, metrics, registry_urls, runs, server
from tracking.protocol import endpoint_not_found

urlpatterns = [
    *metrics.urlpatterns,  # first: Django tries patterns in order
    *runs.urlpatterns,
    *experiments.urlpatterns,
    *artifacts.urlpatterns,
    *direct_transfers.urlpatterns,
    *registry_urls.urlpatterns,
    *server.urlpatterns,
    re_path(r"^.*$", endpoint_not_found),
]
