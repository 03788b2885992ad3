"""URLs of the pages. Like the API paths, they have no trailing slash."""

from django.contrib.auth.decorators import login_not_required
from django.urls import URLPattern, path, register_converter
from django.urls.converters import StringConverter
from django.views.i18n import set_language

from core.ids import ID_PATTERN
from dashboard.theme import set_theme
from dashboard.views import (
    access,
    activity,
    artifacts,
    audit,
    checkpoints,
    code,
    compare,
    goodput,
    home,
    logs,
    projects,
    recipes,
    releases,
    retention,
    run_actions,
    run_pages,
    run_table,
    runs,
    saved_views,
    series,
    sweeps,
    webhooks,
    workers,
)

app_name = "dashboard"


class PublicIdConverter(StringConverter):
    regex = ID_PATTERN


register_converter(PublicIdConverter, "id")

RUN = "/projects/<id:project_id>/runs/<id:run_id>"
CHECKPOINTS = "/projects/<id:project_id>/checkpoints"
SWEEP = "/projects/<id:project_id>/sweeps/<id:sweep_id>"
ARTIFACT = f"{RUN}/artifacts/<id:artifact_id>"


def webhook_urls(address: str) -> list[URLPattern]:
    """Below a project's address with its id; the names are the same."""
    hook = f"{address}/<id:hook_id>"
    again = f"{hook}/deliveries/<id:delivery_id>/again"
    return [
        path(address, webhooks.webhook_list, name="webhooks"),
        path(hook, webhooks.webhook, name="webhook"),
        path(f"{hook}/edit", webhooks.edit, name="webhook-edit"),
        path(f"{hook}/do/<slug:deed>", webhooks.webhook_act, name="webhook-act"),
        path(again, webhooks.send_again, name="delivery-again"),
    ]


urlpatterns = [
    path("", home.home_page, name="home"),
    path("/home", home.home_parts, name="home-parts"),
    path("/running", home.running, name="running"),
    path("/failed", home.failed, name="failed"),
    path("/activity", activity.activity_list, name="activity"),
    path("/audit", audit.audit_list, name="audit"),
    path("/audit.csv", audit.audit_csv, name="audit-csv"),
    path("/goodput", goodput.goodput, name="goodput"),
    path("/storage", retention.storage, name="storage"),
    # --- the queue, workers, recipes ---
    path("/workers", workers.workers, name="workers"),
    path("/series", series.series, name="series"),
    path("/series.csv", series.series_csv, name="series-csv"),
    path("/workers/<id:worker_id>/drain", workers.drain, name="worker-drain"),
    path("/workers/<id:worker_id>/undrain", workers.undrain, name="worker-undrain"),
    path("/workers/<id:worker_id>/remove", workers.remove, name="worker-remove"),
    path("/pools/add", workers.add_pool, name="pool-add"),
    path("/pools/resize", workers.resize_pool, name="pool-resize"),
    path("/recipes", recipes.recipe_list, name="recipes"),
    path("/recipes/new", recipes.create, name="recipe-new"),
    path("/recipes/checks", recipes.checks, name="recipe-checks"),
    path("/recipe/<slug:name>", recipes.detail, name="recipe"),
    path("/recipe/<slug:name>/edit", recipes.edit, name="recipe-edit"),
    path("/recipe/<slug:name>/check", recipes.check, name="recipe-check"),
    path("/recipe/<slug:name>/test", recipes.test, name="recipe-test"),
    # --- display ---
    path("/language", login_not_required(set_language), name="set-language"),
    path("/theme", login_not_required(set_theme), name="set-theme"),
    # --- comparisons ---
    path("/compare", compare.compare, name="compare"),
    path("/compare/found", compare.found, name="compare-found"),
    path("/compare/summary", compare.live_summary, name="compare-summary"),
    path("/compare/plot.svg", compare.plot, name="compare-plot"),
    # --- teams and tokens ---
    path("/teams", access.team_list, name="teams"),
    path("/teams/<id:team_id>", access.team, name="team"),
    path("/teams/<id:team_id>/members", access.team_member, name="team-member"),
    path("/teams/<id:team_id>/members/<int:user_id>/remove", access.team_leave, name="team-leave"),
    path("/teams/<id:team_id>/new-projects", access.team_new_projects, name="team-new-projects"),
    path("/teams/<id:team_id>/accounts", access.team_account, name="team-account"),
    path("/tokens", access.token_list, name="tokens"),
    path("/tokens/<id:token_id>/revoke", access.token_revoke, name="token-revoke"),
    # --- projects ---
    path("/projects", projects.project_list, name="projects"),
    path("/projects/new", projects.create, name="project-new"),
    path("/projects/<id:project_id>", run_table.project_runs, name="project"),
    path("/projects/<id:project_id>/rows", run_table.live_rows, name="project-rows"),
    path("/projects/<id:project_id>/columns", run_table.column_names, name="project-columns"),
    path("/projects/<id:project_id>/table.csv", run_table.table_csv, name="project-table-csv"),
    path("/projects/<id:project_id>/selected", run_actions.act, name="project-selected"),
    path("/projects/<id:project_id>/views", saved_views.create, name="project-views"),
    path("/projects/<id:project_id>/views/<id:view_id>", saved_views.change, name="project-view"),
    path("/projects/<id:project_id>/about", projects.about, name="project-about"),
    path("/projects/<id:project_id>/versions", projects.version_list, name="project-versions"),
    path("/projects/<id:project_id>/edit", projects.edit, name="project-edit"),
    path("/projects/<id:project_id>/access", access.project_access, name="project-access"),
    path("/projects/<id:project_id>/access/members", access.project_member, name="project-member"),
    path(
        "/projects/<id:project_id>/access/<int:user_id>/remove",
        access.project_leave,
        name="project-leave",
    ),
    path("/projects/<id:project_id>/access/team", access.project_team, name="project-team"),
    path("/projects/<id:project_id>/archive", projects.archive, name="project-archive"),
    path("/projects/<id:project_id>/reopen", projects.reopen, name="project-reopen"),
    path("/projects/<id:project_id>/runs/new", runs.create, name="run-new"),
    # --- webhooks ---
    *webhook_urls("/projects/<id:project_id>/webhooks"),
    *webhook_urls("/webhooks"),  # for all projects
    # --- sweeps ---
    path("/projects/<id:project_id>/sweeps", sweeps.sweep_list, name="sweeps"),
    path("/projects/<id:project_id>/new-sweep", sweeps.create, name="sweep-new"),
    path(SWEEP, sweeps.detail, name="sweep"),
    path(f"{SWEEP}/live", sweeps.live_parts, name="sweep-live"),
    path(f"{SWEEP}/<slug:action>", sweeps.act, name="sweep-act"),
    # --- checkpoints and releases ---
    path(CHECKPOINTS, checkpoints.checkpoint_list, name="project-checkpoints"),
    path(f"{CHECKPOINTS}/leaderboard", checkpoints.leaderboard, name="project-leaderboard"),
    path(
        f"{CHECKPOINTS}/leaderboard.csv",
        checkpoints.leaderboard_csv,
        name="project-leaderboard-csv",
    ),
    path(f"{CHECKPOINTS}/releases", checkpoints.release_list, name="project-releases"),
    path(f"{CHECKPOINTS}/evaluate", releases.evaluate_chosen, name="evaluate-chosen"),
    path(f"{CHECKPOINTS}/policy", releases.policy, name="release-policy"),
    path(f"{CHECKPOINTS}/policy/change", releases.change, name="release-policy-change"),
    path(f"{CHECKPOINTS}/kept", retention.policy, name="checkpoint-policy"),
    path(f"{CHECKPOINTS}/kept/change", retention.change, name="checkpoint-policy-change"),
    path(f"{CHECKPOINTS}/trash", retention.trash_list, name="checkpoint-trash"),
    path(
        f"{CHECKPOINTS}/trash/<id:deletion_id>/restore",
        retention.restore,
        name="checkpoint-restore",
    ),
    path(
        f"{CHECKPOINTS}/trash/<id:deletion_id>/purge",
        retention.purge_now,
        name="checkpoint-purge",
    ),
    path(f"{CHECKPOINTS}/trash/empty", retention.empty_trash, name="checkpoint-trash-empty"),
    path(f"{CHECKPOINTS}/rules", releases.add_rule, name="evaluation-rule-new"),
    path(
        f"{CHECKPOINTS}/rules/<id:rule_id>/remove",
        releases.remove_rule,
        name="evaluation-rule-remove",
    ),
    path(
        "/projects/<id:project_id>/release-requests/<id:request_id>/<slug:action>",
        releases.decide,
        name="release-decide",
    ),
    path(f"{ARTIFACT}/remove", retention.remove, name="checkpoint-remove"),
    path(f"{ARTIFACT}/release", checkpoints.release, name="checkpoint-release"),
    path(f"{ARTIFACT}/model-card", checkpoints.model_card, name="model-card"),
    path(f"{ARTIFACT}/model-card/curve.svg", checkpoints.model_card_curve, name="model-card-curve"),
    path(f"{ARTIFACT}/model-card/README.md", checkpoints.model_card_file, name="model-card-file"),
    # --- a run: a tab each, and what they ask for ---
    path(RUN, run_pages.detail, name="run"),
    path(f"{RUN}/log", logs.log, name="run-log"),
    path(f"{RUN}/checkpoints", artifacts.checkpoints, name="run-checkpoints"),
    path(f"{RUN}/configuration", run_pages.configuration_page, name="run-configuration"),
    path(f"{RUN}/code", code.run_code, name="run-code"),
    path(f"{RUN}/code.zip", code.run_code_archive, name="run-code-archive"),
    path(f"{RUN}/lineage", run_pages.lineage_page, name="run-lineage"),
    path(f"{RUN}/events", run_pages.event_list, name="run-events"),
    path(f"{RUN}/live", run_pages.live_parts, name="run-live"),
    path(f"{RUN}/metrics", run_pages.metric_table, name="run-metrics"),
    path(f"{RUN}/series", series.run_series, name="run-series"),
    path(f"{RUN}/series.csv", series.run_series_csv, name="run-series-csv"),
    path(f"{RUN}/plot.svg", series.run_plot, name="run-plot"),
    path(f"{RUN}/charts", series.run_charts, name="run-charts"),
    path(f"{RUN}/tail", logs.tail, name="run-tail"),
    path(f"{RUN}/lines", logs.lines_around, name="run-lines"),
    path(f"{RUN}/log/download", logs.log_download, name="run-log-download"),
    path(f"{RUN}/describe", runs.describe_run, name="run-describe"),
    path(f"{RUN}/cancel", runs.cancel, name="run-cancel"),
    path(f"{RUN}/pause", runs.pause, name="run-pause"),
    path(f"{RUN}/continue", runs.continue_paused, name="run-continue"),
    path(f"{RUN}/priority", workers.prioritize, name="run-priority"),
    path(f"{RUN}/leave-queue", workers.cancel_queued, name="queue-cancel"),
    path(f"{RUN}/restore", runs.restore, name="run-restore"),
    path(f"{RUN}/retry", runs.retry, name="run-retry"),
    path(ARTIFACT, artifacts.detail, name="artifact"),
    path(f"{ARTIFACT}/raw", artifacts.raw_file, name="artifact-raw"),
    path(f"{ARTIFACT}/tag", artifacts.tag, name="artifact-tag"),
    path(f"{ARTIFACT}/resume", artifacts.resume, name="artifact-resume"),
]
