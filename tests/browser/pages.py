"""Every page, with its address on the demo data."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.browser.site import Site

Address = Callable[[Site], str]

SWEEP_RUN = "sft-lr1e-4-bs128-w100"  # the best one, released
RESUMED_RUN = "base-1.3b-lower-lr"  # with a parent, a child, and a spike
FAILED_RUN = "base-1.3b-z-loss"


@dataclass(frozen=True)
class Page:
    """``name``: of its URL, and of the case if a URL has several; ``has_charts``: drawn by
    JavaScript."""

    name: str
    address: Address
    has_charts: bool = False

    @property
    def url_name(self) -> str:
        return self.name.partition("/")[0]


def run_page(part: str, name: str = RESUMED_RUN) -> Address:
    return lambda site: site.run(name) + part


def project_page(part: str, name: str = "tuning") -> Address:
    return lambda site: site.project(name) + part


def checkpoint_page(part: str) -> Address:
    def address(site: Site) -> str:
        query = """
            SELECT id FROM artifacts_artifact WHERE run_id = %s AND type = 'checkpoint'
            ORDER BY step DESC LIMIT 1
        """
        [(checkpoint,)] = site.query(query, site.runs[RESUMED_RUN])
        return f"{site.run(RESUMED_RUN)}/artifacts/{checkpoint}{part}"

    return address


PAGES = [
    Page("home", lambda _site: "/dashboard"),
    Page("projects", lambda _site: "/dashboard/projects"),
    Page("workers", lambda _site: "/dashboard/workers"),
    Page("project-new", lambda _site: "/dashboard/projects/new"),
    Page("project", project_page("")),
    Page("project/pretraining", project_page("", "pretraining")),
    Page("project-about", project_page("/about")),
    Page("project-versions", project_page("/versions")),
    Page("project-edit", project_page("/edit")),
    Page("run-new", project_page("/runs/new")),
    Page("run", run_page(""), has_charts=True),
    Page("run/failed", run_page("", FAILED_RUN), has_charts=True),
    Page("run-log", run_page("/log")),
    Page("run-all-artifacts", run_page("/artifacts/all")),
    Page("artifact-resume", checkpoint_page("/resume")),
]

# The other names in dashboard/urls.py: what scripts ask for, downloads, and where forms are sent.
NO_PAGES = {
    "set-language",
    "set-theme",
    "artifact-tag",
    "project-archive",
    "project-reopen",
    "run-live",
    "run-actions",
    "run-artifacts",
    "run-events",
    "run-metrics",
    "run-series",
    "run-tail",
    "run-log-download",
    "run-cancel",
    "run-retry",
}
