"""make screenshots: pictures of the pages on the demo data, by an instance of its own.

``python -m tests.browser [--only home,run]``. Each page is taken in
both languages, both color schemes and both widths into var/screenshots; those that the READMEs show
go to docs/images, as WebP.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from playwright.sync_api import Browser, sync_playwright

from tests.browser.pages import FOR_OPERATORS, PAGES, Page, comparison, project_page, run_page
from tests.browser.site import Site, read_site, sign_in
from tests.chromium import launch
from tests.up_process import REPOSITORY, UpProcess, up_process, wait_until

PICTURES = REPOSITORY / "var" / "screenshots"
# Of the READMEs, one for each language: a sweep with its best run first, a spike among ancestors'
# curves, a sweep's learning rates compared.
SWEPT = [f"sft-lr{rate}-bs64-w100" for rate in ("1e-3", "3e-4", "1e-4", "3e-5", "1e-5")]
SHOWN = [
    (Page("home", lambda _site: "/dashboard"), "light"),
    (Page("runs", project_page("?sort=best.eval_loss")), "dark"),
    (Page("run", run_page("")), "light"),
    (Page("compare", comparison(runs=SWEPT)), "dark"),
]
SHOWN_IN = REPOSITORY / "docs" / "images"
SHOWN_SIZE = (1280, 800)

LANGUAGES = {"zh": ("zh-CN", "zh-hans"), "en": ("en-US", "en")}
SCHEMES = ("light", "dark")
SIZES = {1280: 860, 360: 780}
PATIENCE_MS = 60_000
QUEUE_SECONDS = 120


def main() -> None:
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--only", default="", help="names of pages, as in tests/browser/pages.py")
    options = parser.parse_args()
    names = set(filter(None, options.only.split(",")))
    shown = [(page, scheme) for page, scheme in SHOWN if not names or page.name in names]
    pages = [page for page in PAGES if not names or page.name in names]
    PICTURES.mkdir(parents=True, exist_ok=True)
    SHOWN_IN.mkdir(parents=True, exist_ok=True)
    for language in LANGUAGES:
        with _demo(LANGUAGES[language][1]) as site, sync_playwright() as playwright:
            browser = launch(playwright)
            for page, scheme, width in product(pages, SCHEMES, SIZES):
                file = f"{page.name.replace('/', '-')}-{language}-{scheme}-{width}.png"
                size = (width, SIZES[width])
                (PICTURES / file).write_bytes(_taken(browser, site, page, language, scheme, size))
                sys.stdout.write(f"{file}\n")
            for page, scheme in shown:
                picture = _taken(browser, site, page, language, scheme, SHOWN_SIZE)
                file = f"{page.name}.{language}.webp"
                (SHOWN_IN / file).write_bytes(_as_webp(browser, picture))
                sys.stdout.write(f"{file}\n")
            browser.close()


@contextmanager
def _demo(language: str) -> Iterator[Site]:
    """An instance in ``language`` with the demo data, whose worker runs what is queued."""
    with up_process(TRAINHUB_LANGUAGE=language, TRAINHUB_SIMULATION_STEPS_PER_SECOND="40") as up:
        up.start()
        add_operator = "from tests.browser.demo_data import add_operator; add_operator()"
        for arguments in (["load_demo"], ["shell", "--verbosity", "0", "-c", add_operator]):
            command = [sys.executable, "manage.py", *arguments]
            subprocess.run(command, check=True, cwd=REPOSITORY, env=up.environment)
        _wait_until_claimed(up)
        yield read_site(up.base_url, up.database.url)


def _wait_until_claimed(up: UpProcess) -> None:
    wait_until(
        lambda: up.output.count("claimed run") >= 3, QUEUE_SECONDS, "the demo's runs are running"
    )


def _taken(
    browser: Browser, site: Site, page: Page, language: str, scheme: str, size: tuple[int, int]
) -> bytes:
    """The picture as PNG."""
    width, height = size
    context = browser.new_context(
        base_url=site.url,
        locale=LANGUAGES[language][0],
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        timezone_id="Asia/Shanghai",
    )
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    if page.name in FOR_OPERATORS:
        sign_in(opened)
    opened.goto(page.address(site))
    opened.wait_for_load_state("networkidle")  # what charts and live parts have asked for is there
    opened.evaluate(_DRAWN)
    picture = opened.screenshot()
    context.close()
    return picture


# Fonts are there, and a frame with all of it has been drawn.
_DRAWN = """
async () => {
  await document.fonts.ready;
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}
"""

_TO_WEBP = """
async png => {
  const picture = await createImageBitmap(await (await fetch(png)).blob());
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.toDataURL("image/webp", 0.9);
}
"""


def _as_webp(browser: Browser, png: bytes) -> bytes:
    """A third of the size; the browser is the only program here that can write it."""
    page = browser.new_page()
    data = page.evaluate(_TO_WEBP, f"data:image/png;base64,{base64.b64encode(png).decode()}")
    page.close()
    return base64.b64decode(data.partition(",")[2])
