"""Every page on the demo data: for every reader, in every window, by keyboard, without JavaScript.

Each test opens one page, so that its name says which page is at fault.
"""

import gettext
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.urls import URLPattern
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from playwright.sync_api import Page as BrowserPage

from dashboard import urls
from tests.browser import examination, known_texts
from tests.browser.pages import NO_PAGES, PAGES, Page
from tests.browser.site import Site
from tests.chromium import launch_or_skip

pytestmark = pytest.mark.browser

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
LOCALES = {"zh": "zh-CN", "en": "en-US"}
PATIENCE_MS = 30_000

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch_or_skip(playwright)
        yield browser
        browser.close()


class Visit:
    """An open page, and what went wrong on it so far."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE_MS)
        self.problems: list[str] = []
        self.page: BrowserPage = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on(
            "console",
            lambda message: message.type == "error" and self.problems.append(message.text),
        )

    def open(self, page: Page, site: Site) -> BrowserPage:
        answer = self.page.goto(page.address(site))
        assert answer is not None
        assert answer.status == 200
        return self.page


@contextmanager
def visiting(
    chromium: Browser, site: Site, language: str = "zh", **options: object
) -> Iterator[Visit]:
    context = chromium.new_context(
        base_url=site.url, locale=LOCALES[language], viewport=WIDE, **options
    )
    yield Visit(context)
    context.close()


@pytest.fixture(scope="module")
def words(site: Site) -> frozenset[str]:
    """Latin words that are somebody's data."""
    return known_texts.data_words(site)


@pytest.fixture(scope="module")
def catalog() -> dict[str, str]:
    """English → Chinese."""
    path = settings.BASE_DIR / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        messages = gettext.GNUTranslations(file)._catalog
    return {key: text for key, text in messages.items() if isinstance(key, str)}


def test_list_of_pages_has_every_url():
    named = {route.name for route in urls.urlpatterns if isinstance(route, URLPattern)}

    assert {page.url_name for page in PAGES} | NO_PAGES == named


@pytest.mark.parametrize("language", LOCALES)
@every_page
def test_page_is_accessible_in_every_window(
    page: Page, language: str, chromium: Browser, site: Site
):
    """Both widths in both color schemes: no script error, nothing that axe-core objects to, no
    scrolling sideways, headings in order."""
    found = []

    with visiting(chromium, site, language) as visit:
        opened = visit.open(page, site)
        examination.keep_rows(opened, 12)
        for name, size in (("wide", WIDE), ("narrow", NARROW)):
            opened.set_viewport_size(size)
            for scheme in ("light", "dark"):
                opened.emulate_media(color_scheme=scheme)
                only_contrast = scheme == "dark"
                problems = examination.accessibility_problems(opened, only_contrast=only_contrast)
                found += [f"{name}, {scheme}: {problem}" for problem in problems]
            if examination.is_wider_than_its_window(opened):
                found.append(f"{name}: scrolls sideways")
        found += examination.heading_problems(opened) + visit.problems

    assert not found, "\n".join(found)


@every_page
def test_page_in_english_shows_no_chinese_but_data(page: Page, chromium: Browser, site: Site):
    with visiting(chromium, site, "en") as visit:
        texts = examination.texts_of(visit.open(page, site))

    found = known_texts.chinese_left(texts)
    assert not found, "\n".join(found)


@every_page
def test_page_in_chinese_shows_no_english_but_data(
    page: Page,
    chromium: Browser,
    site: Site,
    words: frozenset[str],
    catalog: dict[str, str],
):
    with visiting(chromium, site, "zh") as visit:
        texts = examination.texts_of(visit.open(page, site))

    found = known_texts.english_left(texts, words, catalog)
    assert not found, "\n".join(found)


@every_page
def test_tab_reaches_every_control_and_shows_where_it_is(page: Page, chromium: Browser, site: Site):
    with visiting(chromium, site) as visit:
        found = examination.keyboard_problems(visit.open(page, site))

    assert not found, "\n".join(found)


@every_page
def test_page_answers_without_javascript(page: Page, chromium: Browser, site: Site):
    with visiting(chromium, site, java_script_enabled=False) as visit:
        opened = visit.open(page, site)

        expect(opened.locator("h1")).to_be_visible()
        expect(opened.locator("main")).not_to_be_empty()
