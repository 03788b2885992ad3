"""Every address: the contract's API at the root, pages under /dashboard, the operators' /admin."""

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerView,
)
from rest_framework.routers import SimpleRouter
from rest_framework_nested.routers import NestedSimpleRouter

from artifacts.viewsets import ArtifactFileView, ArtifactViewSet
from projects.viewsets import ProjectViewSet
from runs.export_api import ProjectExportViewSet
from runs.viewsets import RecipeViewSet, RunViewSet
from tracking.artifacts import ArtifactLinkView
from tracking.server import health as mlflow_health
from tracking.server import version as mlflow_version
from trainhub import errors, health
from trainhub.ids import ID_PATTERN

# /projects, /projects/{id}, …/export, …/runs, …/runs/{id}, …/artifacts, …/artifacts/{id}
projects = SimpleRouter(trailing_slash=False)
projects.register("projects", ProjectViewSet)
projects.register("recipes", RecipeViewSet)
runs = NestedSimpleRouter(projects, "projects", lookup="project", trailing_slash=False)
runs.register("runs", RunViewSet)
runs.register("export", ProjectExportViewSet, basename="project-export")
artifacts = NestedSimpleRouter(runs, "runs", lookup="run", trailing_slash=False)
artifacts.register("artifacts", ArtifactViewSet)

RUN = rf"projects/(?P<project_id>{ID_PATTERN})/runs/(?P<run_id>{ID_PATTERN})"

urlpatterns = [
    # MLflow's clients print addresses of the root with a run behind a #: see static/js/app.js.
    path("", login_not_required(RedirectView.as_view(url="/dashboard"))),
    *projects.urls,
    *runs.urls,
    # Before the artifacts by id: "files" is none.
    re_path(rf"^{RUN}/artifacts/files/(?P<path>.+)\Z", ArtifactFileView.as_view(), name="file"),
    *artifacts.urls,
    path("get-artifact", ArtifactLinkView.as_view()),
    # Pages say which icon is theirs; the admin's and the documentation's leave it to browsers.
    path("favicon.ico", login_not_required(RedirectView.as_view(url="/static/favicon.svg"))),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(), name="docs"),
    path("redoc", SpectacularRedocView.as_view(), name="redoc"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("health", mlflow_health),
    path("version", mlflow_version),
    path("dashboard", include("trainhub.dashboard_urls")),
    path("", include("trainhub.account_urls")),
    path("admin/", admin.site.urls),
    path("api/", include("tracking.urls")),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
