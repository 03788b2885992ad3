"""No page has anything that its Content Security Policy refuses: a browser follows every link.

Links to the same view are followed a few times: a run's page is like another's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.urls import Resolver404, resolve
from playwright.sync_api import Browser, Error
from playwright.sync_api import Page as BrowserPage

from tests.browser.pages import PAGES
from tests.browser.site import Site, sign_in

pytestmark = pytest.mark.browser

PATIENCE_MS = 30_000
OF_EACH_VIEW = 2
# Reported by the browser itself, before anything of the page has run.
_LISTEN = """
addEventListener("securitypolicyviolation", event => console.error(
  `refused: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile} ${event.sample}`
));
"""
_LINKS = "[...document.querySelectorAll('a[href]')].map(link => link.href)"
# What must have been drawn before the next page is opened.
_DRAWN = {"/docs": ".opblock", "/redoc": "h1, h2"}


class Crawl:
    """What the browser has complained of, by page."""

    def __init__(self, page: BrowserPage, site: Site) -> None:
        self.page, self.site = page, site
        self.problems: list[str] = []
        self.seen: Counter[str] = Counter()
        self._waiting: deque[str] = deque()
        self._known: set[str] = set()
        page.add_init_script(_LISTEN)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("console", lambda message: message.type == "error" and self._note(message.text))

    def _note(self, text: str) -> None:
        if not text.startswith("Failed to load resource"):
            self.problems.append(f"{self.page.url}: {text}")

    def follow(self, *addresses: str) -> None:
        for address in addresses:
            self._add(self.site.url + address)
        while self._waiting:
            self._visit(self._waiting.popleft())

    def _add(self, url: str) -> None:
        url = url.partition("#")[0]
        parts = urlsplit(url)
        if not url.startswith(self.site.url + "/") or url in self._known:
            return
        self._known.add(url)
        try:
            match = resolve(parts.path)
        except Resolver404:
            return
        view = match.view_name or match.route
        if self.seen[view] >= OF_EACH_VIEW or "logout" in parts.path:
            return
        self.seen[view] += 1
        self._waiting.append(url)

    def _visit(self, url: str) -> None:
        try:
            answer = self.page.goto(url)
        except Error as error:
            if "Download is starting" not in error.message and "ERR_ABORTED" not in error.message:
                raise
            return
        assert answer is not None
        assert answer.header_value("content-security-policy"), url
        drawn = _DRAWN.get(urlsplit(url).path)
        if drawn:
            self.page.locator(drawn).first.wait_for()
        self.page.wait_for_load_state("networkidle" if drawn else "load")
        if "html" in (answer.header_value("content-type") or ""):
            for link in self.page.evaluate(_LINKS):
                self._add(link)


@pytest.fixture
def crawl(chromium: Browser, site: Site) -> Iterator[Crawl]:
    context = chromium.new_context(base_url=site.url, locale="en-US")
    context.set_default_timeout(PATIENCE_MS)
    yield Crawl(context.new_page(), site)
    context.close()


def test_nothing_on_any_page_is_refused_by_its_policy(crawl: Crawl, site: Site) -> None:
    sign_in(crawl.page)

    crawl.follow(
        *("/dashboard", "/admin/", "/docs", "/redoc", "/dashboard/no-such-page"),
        *(page.address(site) for page in PAGES),
    )

    assert not crawl.problems, "\n".join(crawl.problems)
    views = set(crawl.seen)
    assert {"docs", "redoc", "admin:index", "admin:runs_recipe_change", "dashboard:run"} <= views


def test_script_that_gets_into_a_page_does_not_run(crawl: Crawl, site: Site) -> None:
    crawl.page.goto("/dashboard")

    crawl.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          document.body.setAttribute("style", "display: none");
        }"""
    )

    assert crawl.page.evaluate("window.ran") is None
    assert len([text for text in crawl.problems if "refused: " in text]) == 2
