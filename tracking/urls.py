"""The MLflow protocol below /api. Each subject lists its own addresses."""

from django.urls import include, path, re_path

from tracking import metrics, registry_urls
from tracking.wire import endpoint_not_found

urlpatterns = [
    path("2.0/mlflow/", include(metrics.urlpatterns)),
    *registry_urls.urlpatterns,
    re_path(r"^.*$", endpoint_not_found),
]
