"""Every page, with its address on the demo data."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from tests.browser.site import Site

Address = Callable[[Site], str]

SWEEP_RUN = "sft-lr1e-4-bs128-w100"  # the best one, released
RESUMED_RUN = "base-1.3b-lower-lr"  # with a parent, a child, and a spike
FAILED_RUN = "base-1.3b-z-loss"


@dataclass(frozen=True)
class Page:
    """``name``: of its URL, and of the case if a URL has several; ``has_charts``: drawn by
    JavaScript; ``status``: of the answer."""

    name: str
    address: Address
    has_charts: bool = False
    status: int = 200

    @property
    def url_name(self) -> str:
        return self.name.partition("/")[0]


def run_page(part: str, name: str = RESUMED_RUN) -> Address:
    return lambda site: site.run(name) + part


def project_page(part: str, name: str = "tuning") -> Address:
    return lambda site: site.project(name) + part


def again(site: Site) -> str:
    """The form of a new run, filled in with the values of another."""
    run_id = site.runs[SWEEP_RUN]
    return f"{site.project('tuning')}/runs/new?from={run_id}"


def sweep_page(site: Site) -> str:
    [(sweep,)] = site.query("SELECT id FROM sweeps_sweep LIMIT 1")
    return f"{site.project('tuning')}/sweeps/{sweep}"


def checkpoint_page(part: str) -> Address:
    def address(site: Site) -> str:
        query = """
            SELECT id FROM artifacts_artifact WHERE run_id = %s AND type = 'checkpoint'
            ORDER BY step DESC LIMIT 1
        """
        [(checkpoint,)] = site.query(query, site.runs[RESUMED_RUN])
        return f"{site.run(RESUMED_RUN)}/artifacts/{checkpoint}{part}"

    return address


def first_or_new(address: str, content: dict[str, Any]) -> str:
    """The id of the first thing that the API lists there; of a new one if there is none."""
    with urlopen(address) as answer:
        found = json.load(answer)
    if not found:
        body, headers = json.dumps(content).encode(), {"Content-Type": "application/json"}
        with urlopen(Request(address, body, headers)) as answer:
            found = [json.load(answer)]
    return str(found[0]["id"])


def webhook_page(part: str) -> Address:
    """The demo data has no webhook: it would be told of what other tests do."""

    def address(site: Site) -> str:
        hooks = f"{site.url}{site.project('tuning').removeprefix('/dashboard')}/webhooks"
        hook = {"name": "on call", "address": "https://hooks.example.org", "enabled": False}
        hook_id = first_or_new(hooks, {**hook, "events": ["run.failed", "run.stalled"]})
        return f"{site.project('tuning')}/webhooks/{hook_id}{part}"

    return address


def team_page(site: Site) -> str:
    return f"/dashboard/teams/{first_or_new(f'{site.url}/teams', {'name': 'NLP'})}"


def comparison(tab: str = "", runs: Sequence[str] = (SWEEP_RUN, "sft-lr1e-4-bs64-w100")) -> Address:
    """``runs``: names, by default of the two best runs of the sweep."""

    def address(site: Site) -> str:
        ids = ",".join(site.runs[name] for name in runs)
        return f"/dashboard/compare?runs={ids}" + (f"&tab={tab}" if tab else "")

    return address


DASHBOARD = [
    Page("home", lambda _site: "/dashboard", has_charts=True),
    Page("running", lambda _site: "/dashboard/running"),
    Page("failed", lambda _site: "/dashboard/failed"),
    Page("activity", lambda _site: "/dashboard/activity"),
    Page("audit", lambda _site: "/dashboard/audit"),
    Page("teams", lambda _site: "/dashboard/teams"),
    Page("team", team_page),
    Page("tokens", lambda _site: "/dashboard/tokens"),
    Page("goodput", lambda _site: "/dashboard/goodput"),
    Page("storage", lambda _site: "/dashboard/storage"),
    Page("goodput/by-run", lambda _site: "/dashboard/goodput?by=run"),
    Page("goodput/empty", lambda _site: "/dashboard/goodput?month=2020-01"),
    Page("workers", lambda _site: "/dashboard/workers"),
    Page("recipes", lambda _site: "/dashboard/recipes"),
    Page("recipe", lambda _site: "/dashboard/recipe/demo-sft"),
    Page("recipe-new", lambda _site: "/dashboard/recipes/new"),
    Page("recipe-edit", lambda _site: "/dashboard/recipe/demo-sft/edit"),
    Page("projects", lambda _site: "/dashboard/projects"),
    Page("project-new", lambda _site: "/dashboard/projects/new"),
    Page("project", project_page("")),
    Page("project/filtered", project_page("?filter=metrics.eval_loss+%3C+1.3&sort=best.eval_loss")),
    Page("project/grouped", project_page("?group=params.learning_rate")),
    Page("project/wrong-filter", project_page("?filter=metrics.eval_loss+%3C")),
    Page("project/empty", project_page("?name=nothing")),
    Page("project-about", project_page("/about")),
    Page("project-versions", project_page("/versions")),
    Page("project-edit", project_page("/edit")),
    Page("project-access", project_page("/access")),
    Page("project-checkpoints", project_page("/checkpoints")),
    Page("project-leaderboard", project_page("/checkpoints/leaderboard")),
    Page("project-releases", project_page("/checkpoints/releases")),
    Page("webhooks", project_page("/webhooks")),
    Page("webhook", webhook_page("")),
    Page("webhook-edit", webhook_page("/edit")),
    Page("webhooks/for-all", lambda _site: "/dashboard/webhooks"),
    Page("release-policy", project_page("/checkpoints/policy")),
    Page("checkpoint-policy", project_page("/checkpoints/kept")),
    Page("checkpoint-trash", project_page("/checkpoints/trash")),
    Page("sweeps", project_page("/sweeps")),
    Page("sweep-new", project_page("/new-sweep")),
    Page("sweep", sweep_page),
    Page("run-new", project_page("/runs/new")),
    Page("run-new/again", again),
    Page("compare", comparison(), has_charts=True),
    Page("compare/differences", comparison("differences")),
    Page("compare/summary", comparison("summary")),
    Page("compare/parallel", comparison("parallel"), has_charts=True),
    Page("compare/scatter", comparison("scatter"), has_charts=True),
    Page("compare/code", comparison("code")),
    Page("compare/nothing", lambda _site: "/dashboard/compare"),
    Page("run", run_page(""), has_charts=True),
    Page("run/failed", run_page("", FAILED_RUN), has_charts=True),
    Page("run/elsewhere", run_page("", "base-3b-probe"), has_charts=True),
    Page("run-log", run_page("/log")),
    Page("run-checkpoints", run_page("/checkpoints")),
    Page("run-configuration", run_page("/configuration")),
    Page("run-code", run_page("/code")),
    Page("run-lineage", run_page("/lineage")),
    Page("run-events", run_page("/events")),
    Page("run-describe", run_page("/describe")),
    Page("artifact", checkpoint_page("")),
    Page("artifact-resume", checkpoint_page("/resume")),
    Page("checkpoint-release", checkpoint_page("/release")),
    Page("model-card", checkpoint_page("/model-card")),
]
# Pages that are not in dashboard/urls.py.
OTHERS = [
    Page("login", lambda _site: "/login"),
    Page("error", lambda _site: "/dashboard/no-such-page", status=404),
]
PAGES = [*DASHBOARD, *OTHERS]

# Open mode is not enough for them: recipes say what runs on the workers.
FOR_OPERATORS = {"recipe-new", "recipe-edit"}
# Who is signed in is sent on to the dashboard.
SIGNED_OUT = {"login"}

# The other names in dashboard/urls.py: what scripts ask for, downloads, and where forms are sent.
NO_PAGES = {
    "set-language",
    "set-theme",
    # What is new on a page, and what completes a field.
    "home-parts",
    "project-rows",
    "project-columns",
    "compare-found",
    "compare-summary",
    "run-live",
    "sweep-live",
    "run-metrics",
    "run-charts",
    "run-tail",
    "run-lines",
    # Data and files.
    "series",
    "series-csv",
    "audit-csv",
    "run-series",
    "run-series-csv",
    "run-plot",
    "run-code-archive",
    "compare-plot",
    "run-log-download",
    "artifact-raw",
    "project-table-csv",
    "project-leaderboard-csv",
    "model-card-file",
    "model-card-curve",
    # Forms are sent there.
    "team-member",
    "team-leave",
    "team-new-projects",
    "team-account",
    "token-revoke",
    "project-member",
    "project-leave",
    "project-team",
    "project-archive",
    "project-reopen",
    "project-selected",
    "project-views",
    "project-view",
    "run-cancel",
    "run-pause",
    "run-continue",
    "sweep-act",
    "run-retry",
    "run-restore",
    "run-priority",
    "queue-cancel",
    "artifact-tag",
    "evaluate-chosen",
    "evaluation-rule-new",
    "evaluation-rule-remove",
    "release-decide",
    "checkpoint-purge",
    "checkpoint-trash-empty",
    "webhook-act",
    "delivery-again",
    "release-policy-change",
    "checkpoint-policy-change",
    "checkpoint-restore",
    "checkpoint-remove",
    "worker-drain",
    "worker-undrain",
    "worker-remove",
    "pool-add",
    "pool-resize",
    "recipe-check",
    "recipe-checks",
    "recipe-test",
}
