"""A real Chromium that measures pages: when they show something, when their charts are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

PATIENCE_MS: Final = 120_000
WINDOW: Final[ViewportSize] = {"width": 1280, "height": 900}

# When the page last drew on a canvas or changed its content, and what it has asked for.
WATCH: Final = """
window.watched = {drawn: 0, changed: 0, open: 0, shifts: 0};
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...area) {
  window.watched.drawn = performance.now();
  return clear.apply(this, area);
};
const ask = window.fetch;
window.fetch = async (...request) => {
  window.watched.open += 1;
  try { return await ask(...request); } finally { window.watched.open -= 1; }
};
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (...body) {
  window.watched.open += 1;
  this.addEventListener("loadend", () => { window.watched.open -= 1; });
  return send.apply(this, body);
};
new MutationObserver(() => { window.watched.changed = performance.now(); })
  .observe(document, {childList: true, subtree: true, characterData: true});
"""

# Nothing is being asked for, and nothing has been drawn for a while.
QUIET: Final = """
([since, quiet]) => window.watched.open === 0 &&
  Math.max(since, window.watched.drawn, window.watched.changed) + quiet < performance.now()
"""
PAINT: Final = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
# Compressed bytes of scripts and styles, with headers; 0 for what came from the cache.
CODE_BYTES: Final = """
performance.getEntriesByType("resource")
  .filter(({name}) => /[.](js|css)([?]|$)/.test(name))
  .reduce((total, {encodedBodySize}) => total + encodedBodySize, 0)
"""


@dataclass(frozen=True)
class Loaded:
    """Milliseconds since the navigation began; ``code_bytes``: JavaScript and CSS, compressed."""

    first_paint_ms: float
    shown_ms: float  # what was waited for is there
    drawn_ms: float  # the last canvas has been drawn
    code_bytes: int


class Tab:
    def __init__(self, page: Page) -> None:
        self.page = page

    def load(self, url: str, *, shows: str, quiet_ms: int = 400) -> Loaded:
        """Open ``url`` and wait until there is an element ``shows`` (CSS) and all is drawn."""
        self.page.goto(url)
        self.page.wait_for_selector(shows)
        shown = float(self.page.evaluate("performance.now()"))
        self.page.wait_for_function(QUIET, arg=[shown, quiet_ms])
        return Loaded(
            first_paint_ms=float(self.page.evaluate(PAINT) or shown),
            shown_ms=shown,
            drawn_ms=float(self.page.evaluate("watched.drawn")) or shown,
            code_bytes=int(self.page.evaluate(CODE_BYTES)),
        )

    def after(self, act: Callable[[], Any], *, of: str = "drawn", quiet_ms: int = 300) -> float:
        """Milliseconds from the begin of ``act`` until all that follows from it is there. ``of``:
        "drawn", on canvases, or "changed", the page's content."""
        started = float(self.page.evaluate("performance.now()"))
        act()
        self.page.wait_for_function(QUIET, arg=[started, quiet_ms])
        return float(self.page.evaluate(f"watched.{of}")) - started

    def until_mark(self, name: str, act: Callable[[], Any]) -> float:
        """Milliseconds from the begin of ``act`` until the page sets the mark ``name``."""
        started = float(
            self.page.evaluate(
                "name => { performance.clearMarks(name); return performance.now(); }", name
            )
        )
        act()
        marks = "name => performance.getEntriesByName(name, 'mark')"
        self.page.wait_for_function(f"name => ({marks})(name).length", arg=name)
        return float(self.page.evaluate(f"name => ({marks})(name)[0].startTime", name)) - started

    def frames_per_second(self, act: Callable[[], Any]) -> float:
        """How many frames the page draws a second while ``act`` goes on."""
        self.page.evaluate(
            """() => {
              window.frames_seen = 0;
              const count = () => { window.frames_seen += 1; requestAnimationFrame(count); };
              requestAnimationFrame(count);
              window.counted_from = performance.now();
            }"""
        )
        act()
        return float(self.page.evaluate("1000 * frames_seen / (performance.now() - counted_from)"))


@contextmanager
def tab() -> Iterator[Tab]:
    """A fresh browser without a cache: every load is a first one."""
    # Only pages need them: they are no packages of the product.
    from playwright.sync_api import sync_playwright

    from tests.chromium import launch

    with sync_playwright() as playwright:
        browser = launch(playwright)
        # Playwright waits for functions by eval, which the pages' policy refuses.
        context = browser.new_context(viewport=WINDOW, locale="en-US", bypass_csp=True)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.add_init_script(WATCH)
        yield Tab(page)
        browser.close()
