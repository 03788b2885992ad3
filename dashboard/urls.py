"""URLs of the pages. Like the API paths, they have no trailing slash."""

from django.contrib.auth.decorators import login_not_required
from django.urls import path, register_converter
from django.urls.converters import StringConverter
from django.views.i18n import set_language

from core.ids import ID_PATTERN
from dashboard.theme import set_theme
from dashboard.views import artifacts, logs, metrics, projects, runs, workers

app_name = "dashboard"


class PublicIdConverter(StringConverter):
    regex = ID_PATTERN


register_converter(PublicIdConverter, "id")

RUN = "/projects/<id:project_id>/runs/<id:run_id>"
ARTIFACT = f"{RUN}/artifacts/<id:artifact_id>"

urlpatterns = [
    path("", projects.project_list, name="home"),
    path("/workers", workers.workers, name="workers"),
    path("/language", login_not_required(set_language), name="set-language"),
    path("/theme", login_not_required(set_theme), name="set-theme"),
    # --- projects ---
    path("/projects", projects.project_list, name="projects"),
    path("/projects/new", projects.create, name="project-new"),
    path("/projects/<id:project_id>", projects.project_detail, name="project"),
    path("/projects/<id:project_id>/about", projects.about, name="project-about"),
    path("/projects/<id:project_id>/versions", projects.version_list, name="project-versions"),
    path("/projects/<id:project_id>/edit", projects.edit, name="project-edit"),
    path("/projects/<id:project_id>/archive", projects.archive, name="project-archive"),
    path("/projects/<id:project_id>/reopen", projects.reopen, name="project-reopen"),
    path("/projects/<id:project_id>/runs/new", runs.create, name="run-new"),
    path(RUN, runs.detail, name="run"),
    path(f"{RUN}/live", runs.live, name="run-live"),
    path(f"{RUN}/actions", runs.action_bar, name="run-actions"),
    path(f"{RUN}/artifacts", artifacts.artifact_list, name="run-artifacts"),
    path(f"{RUN}/artifacts/all", artifacts.all_artifacts, name="run-all-artifacts"),
    path(f"{RUN}/events", runs.event_list, name="run-events"),
    path(f"{RUN}/metrics", metrics.metric_table, name="run-metrics"),
    path(f"{RUN}/series", metrics.series, name="run-series"),
    path(f"{RUN}/tail", logs.tail, name="run-tail"),
    path(f"{RUN}/log", logs.log, name="run-log"),
    path(f"{RUN}/log/download", logs.log_download, name="run-log-download"),
    path(f"{RUN}/cancel", runs.cancel, name="run-cancel"),
    path(f"{RUN}/retry", runs.retry, name="run-retry"),
    path(f"{ARTIFACT}/tag", artifacts.tag, name="artifact-tag"),
    path(f"{ARTIFACT}/resume", artifacts.resume, name="artifact-resume"),
]
