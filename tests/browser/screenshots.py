"""make screenshots: pictures of the pages on the demo data, by an instance of its own.

``python -m tests.browser.screenshots [--only home,run]``. Each page is taken in
both languages, both color schemes and both widths into var/screenshots; those that the READMEs show
go to docs/images.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from playwright.sync_api import Browser, sync_playwright

from tests.browser.pages import PAGES, Page
from tests.browser.site import Site, read_site
from tests.chromium import launch
from tests.up_process import REPOSITORY, UpProcess, up_process, wait_until

PICTURES = REPOSITORY / "var" / "screenshots"
# Page → the name of its picture in the READMEs, one for each language.
SHOWN = {"home": "home", "project": "runs", "run": "run", "compare": "compare"}
SHOWN_IN = REPOSITORY / "docs" / "images"

LANGUAGES = {"zh": ("zh-CN", "zh-hans"), "en": ("en-US", "en")}
SCHEMES = ("light", "dark")
SIZES = {1280: 860, 360: 780}
SETTLED_MS = 1500  # after it has loaded: charts are drawn, fonts are there
QUEUE_SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--only", default="", help="names of pages, as in tests/browser/pages.py")
    options = parser.parse_args()
    names = set(filter(None, options.only.split(",")))
    pages = [page for page in PAGES if not names or page.name in names]
    PICTURES.mkdir(parents=True, exist_ok=True)
    SHOWN_IN.mkdir(parents=True, exist_ok=True)
    for language in LANGUAGES:
        with _demo(LANGUAGES[language][1]) as site, sync_playwright() as playwright:
            browser = launch(playwright)
            for page, scheme, width in product(pages, SCHEMES, SIZES):
                _take(browser, site, page, language, scheme, width)
            browser.close()


@contextmanager
def _demo(language: str) -> Iterator[Site]:
    """An instance in ``language`` with the demo data, whose worker runs what is queued."""
    with up_process(TRAINHUB_LANGUAGE=language, TRAINHUB_SIMULATION_STEPS_PER_SECOND="40") as up:
        up.start()
        command = [sys.executable, "manage.py", "load_demo"]
        subprocess.run(command, check=True, cwd=REPOSITORY, env=up.environment)
        _wait_until_claimed(up)
        yield read_site(up.base_url, up.database.url)


def _wait_until_claimed(up: UpProcess) -> None:
    wait_until(
        lambda: up.output.count("claimed run") >= 3, QUEUE_SECONDS, "the demo's runs are running"
    )


def _take(browser: Browser, site: Site, page: Page, language: str, scheme: str, width: int) -> None:
    context = browser.new_context(
        base_url=site.url,
        locale=LANGUAGES[language][0],
        color_scheme=scheme,
        viewport={"width": width, "height": SIZES[width]},
        timezone_id="Asia/Shanghai",
    )
    opened = context.new_page()
    opened.goto(page.address(site))
    opened.wait_for_timeout(SETTLED_MS)
    file = f"{page.name.replace('/', '-')}-{language}-{scheme}-{width}.png"
    opened.screenshot(path=PICTURES / file)
    if page.name in SHOWN and scheme == "light" and width == max(SIZES):
        opened.screenshot(path=SHOWN_IN / f"{SHOWN[page.name]}.{language}.png")
    sys.stdout.write(f"{file}\n")
    context.close()


if __name__ == "__main__":
    main()
