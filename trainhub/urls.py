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

from artifacts.viewsets import ArtifactViewSet
from projects.viewsets import ProjectViewSet
from runs.quick_views import quick_detail
from runs.viewsets import RecipeViewSet, RunViewSet
from trainhub import errors, health
from trainhub.ids import ID_PATTERN

# /projects, /projects/{id}, …/runs, …/runs/{id}, …/artifacts, …/artifacts/{id}
projects = SimpleRouter(trailing_slash=False)
projects.register("projects", ProjectViewSet)
projects.register("recipes", RecipeViewSet)
runs = NestedSimpleRouter(projects, "projects", lookup="project", trailing_slash=False)
runs.register("runs", RunViewSet)
artifacts = NestedSimpleRouter(runs, "runs", lookup="run", trailing_slash=False)
artifacts.register("artifacts", ArtifactViewSet)

urlpatterns = [
    path("", login_not_required(RedirectView.as_view(url="/dashboard"))),
    re_path(
        rf"^projects/(?P<project_id>{ID_PATTERN})/runs/(?P<id>{ID_PATTERN})$",
        quick_detail,
        name="run-detail-quick",
    ),
    *projects.urls,
    *runs.urls,
    *artifacts.urls,
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(), name="docs"),
    path("redoc", SpectacularRedocView.as_view(), name="redoc"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("dashboard", include("trainhub.dashboard_urls")),
    path("", include("trainhub.account_urls")),
    path("admin/", admin.site.urls),
    path("api/", include("tracking.urls")),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
