"""URLs: the contract's API at the root, pages below /dashboard, the admin below /admin."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import SimpleRouter
from rest_framework_nested.routers import NestedSimpleRouter

from accounts.viewsets import USERNAME_PATTERN, TeamMemberViewSet, TeamViewSet
from agents.views import mcp
from artifacts.direct_upload_viewsets import DirectUploadViewSet
from artifacts.run_viewsets import CancelViewSet, ResumeViewSet
from artifacts.storage_viewsets import StorageView
from artifacts.trash_viewsets import CheckpointDeletionViewSet
from artifacts.viewsets import ArtifactFileView, ArtifactViewSet, ProjectArtifactViewSet
from audit.viewsets import AuditView
from code_bundles.viewsets import CodeUploadView, CodeViewSet, RunCodeViewSet
from core import errors
from core.ids import ID_PATTERN
from execution.mirror.viewsets import (
    NUMBER,
    NodeFileView,
    NodeView,
    StartFilesView,
    StartView,
)
from execution.viewsets import ExplanationViewSet
from goodput.viewsets import GoodputView, PrometheusView, RunGoodputViewSet
from logs.viewsets import LogViewSet
from metrics.export_viewsets import ProjectExportViewSet, RunExportViewSet
from metrics.plot_viewsets import PngPlotViewSet, SvgPlotViewSet
from metrics.viewsets import MetricViewSet
from notices.viewsets import InstallationWebhookViewSet, WebhookViewSet
from projects.access_viewsets import AccessViewSet, ProjectMemberViewSet, TokenViewSet
from projects.viewsets import ProjectViewSet
from registry.checkpoint_policy_viewsets import CheckpointPolicyViewSet
from registry.evaluation_viewsets import EvaluateView, EvaluationRuleViewSet
from registry.release_viewsets import (
    GateView,
    ReleasePolicyViewSet,
    ReleaseRequestViewSet,
    TagView,
)
from registry.viewsets import ModelCardView
from runs.interruption_viewsets import ContinueViewSet, PauseViewSet
from runs.viewsets import RecipeViewSet, RunViewSet
from sweeps.viewsets import SweepViewSet
from tracking.artifacts import ArtifactLinkView
from tracking.protocol import endpoint_not_found
from tracking.server import health as mlflow_health
from tracking.server import version as mlflow_version
from trainhub import health
from trainhub.documentation import RedocView, SwaggerView

# /projects, /projects/{id}, …/export, …/runs, …/runs/{id}, …/artifacts, …/artifacts/{id}
projects = SimpleRouter(trailing_slash=False)
projects.register("projects", ProjectViewSet)
projects.register("recipes", RecipeViewSet)
projects.register("teams", TeamViewSet)
projects.register("tokens", TokenViewSet)
projects.register("webhooks", InstallationWebhookViewSet, basename="webhook")
runs = NestedSimpleRouter(projects, "projects", lookup="project", trailing_slash=False)
runs.register("runs", RunViewSet)
runs.register("export", ProjectExportViewSet, basename="project-export")
runs.register("code", CodeViewSet, basename="project-code")
runs.register("artifacts", ProjectArtifactViewSet, basename="project-artifact")
runs.register("checkpoint-deletions", CheckpointDeletionViewSet)
runs.register("sweeps", SweepViewSet)
runs.register("release-requests", ReleaseRequestViewSet)
runs.register("evaluation-rules", EvaluationRuleViewSet)
runs.register("webhooks", WebhookViewSet, basename="project-webhook")
of_run = NestedSimpleRouter(runs, "runs", lookup="run", trailing_slash=False)
of_run.register("metrics", MetricViewSet, basename="run-metrics")
of_run.register(r"metrics/plot\.svg", SvgPlotViewSet, basename="run-plot-svg")
of_run.register(r"metrics/plot\.png", PngPlotViewSet, basename="run-plot-png")
of_run.register("cancel", CancelViewSet, basename="run-cancel")
of_run.register("pause", PauseViewSet, basename="run-pause")
of_run.register("continue", ContinueViewSet, basename="run-continue")
of_run.register("explanation", ExplanationViewSet, basename="run-explanation")
of_run.register("resume", ResumeViewSet, basename="run-resume")
of_run.register("export", RunExportViewSet, basename="run-export")
of_run.register("goodput", RunGoodputViewSet, basename="run-goodput")
of_run.register("logs", LogViewSet, basename="run-logs")
of_run.register("code", RunCodeViewSet, basename="run-code")
# Before artifacts by id: "uploads" is none.
of_run.register("artifacts/uploads", DirectUploadViewSet, basename="run-direct-uploads")
of_run.register("artifacts", ArtifactViewSet)

RUN = rf"projects/(?P<project_id>{ID_PATTERN})/runs/(?P<run_id>{ID_PATTERN})"
OF_ARTIFACT = rf"{RUN}/artifacts/(?P<id>{ID_PATTERN})"
ATTEMPT = rf"{RUN}/attempts/(?P<number>{NUMBER})"

PROJECT = rf"projects/(?P<project_id>{ID_PATTERN})"
MEMBER = rf"members/(?P<username>{USERNAME_PATTERN})"
CHANGE_MEMBER: dict[str, Any] = {"put": "update", "delete": "destroy"}

# The most frequent ones first: Django tries patterns in order.
urlpatterns = [
    *runs.urls,
    path("api/", include("tracking.urls")),
    # Before artifacts by id, because "files" is not an id.
    re_path(rf"^{RUN}/artifacts/files/(?P<path>.+)\Z", ArtifactFileView.as_view(), name="file"),
    re_path(rf"^{OF_ARTIFACT}/model-card\Z", ModelCardView.as_view(), name="artifact-model-card"),
    re_path(rf"^{OF_ARTIFACT}/tag\Z", TagView.as_view(), name="artifact-tag"),
    re_path(rf"^{OF_ARTIFACT}/gates\Z", GateView.as_view(), name="artifact-gates"),
    re_path(rf"^{OF_ARTIFACT}/evaluate\Z", EvaluateView.as_view(), name="artifact-evaluate"),
    re_path(
        rf"^projects/(?P<project_id>{ID_PATTERN})/code\Z",
        CodeUploadView.as_view(),
        name="code-upload",
    ),
    re_path(rf"^{ATTEMPT}/nodes/(?P<rank>{NUMBER})\Z", NodeView.as_view(), name="node"),
    re_path(
        rf"^{ATTEMPT}/nodes/(?P<rank>{NUMBER})/files\Z", NodeFileView.as_view(), name="node-files"
    ),
    re_path(rf"^{ATTEMPT}/start\Z", StartView.as_view(), name="attempt-start"),
    re_path(rf"^{ATTEMPT}/start/files\Z", StartFilesView.as_view(), name="attempt-start-files"),
    *of_run.urls,
    *projects.urls,
    re_path(
        rf"^{PROJECT}/access\Z",
        AccessViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="project-access",
    ),
    re_path(
        rf"^{PROJECT}/release-policy\Z",
        ReleasePolicyViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="project-release-policy",
    ),
    re_path(
        rf"^{PROJECT}/checkpoint-policy\Z",
        CheckpointPolicyViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
        name="project-checkpoint-policy",
    ),
    re_path(
        rf"^{PROJECT}/checkpoint-policy/preview\Z",
        CheckpointPolicyViewSet.as_view({"get": "preview", "post": "preview_unsaved"}),
        name="project-checkpoint-policy-preview",
    ),
    re_path(
        rf"^{PROJECT}/{MEMBER}\Z",
        ProjectMemberViewSet.as_view(CHANGE_MEMBER),
        name="project-member",
    ),
    re_path(
        rf"^teams/(?P<team_id>{ID_PATTERN})/{MEMBER}\Z",
        TeamMemberViewSet.as_view({**CHANGE_MEMBER, "patch": "partial_update"}),
        name="team-member",
    ),
    path("audit", AuditView.as_view()),
    path("goodput", GoodputView.as_view()),
    path("storage", StorageView.as_view()),
    path("metrics", PrometheusView.as_view()),
    path("mcp", mcp),
    # MLflow clients print URLs with the run in the fragment: /#/experiments/… (static/js/app.js).
    path("", login_not_required(RedirectView.as_view(url="/dashboard"))),
    path("get-artifact", ArtifactLinkView.as_view()),
    # Our pages link to their icon; the admin and the API documentation do not.
    path("favicon.ico", login_not_required(RedirectView.as_view(url="/static/favicon.svg"))),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    # As people type them.
    path("dashboard/", login_not_required(RedirectView.as_view(url="/dashboard"))),
    path("admin", login_not_required(RedirectView.as_view(url="/admin/"))),
    path("docs", SwaggerView.as_view(), name="docs"),
    path("redoc", RedocView.as_view(), name="redoc"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("signed-in", health.signed_in),
    path("health", mlflow_health),
    path("version", mlflow_version),
    path("v1/traces", endpoint_not_found),  # of OpenTelemetry
    path("dashboard", include("dashboard.urls")),
    path("", include("trainhub.account_urls")),
    path("admin/", admin.site.urls),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
