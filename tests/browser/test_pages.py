"""Every page on the demo data: for every reader, in every window, by keyboard, without JavaScript.

Each test is of one page, so that its name says which is at fault.
"""

import gettext
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import pytest
from django.conf import settings
from django.urls import URLPattern
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    ViewportSize,
    expect,
    sync_playwright,
)
from playwright.sync_api import Page as BrowserPage

from dashboard import urls
from tests.browser import examination, known_texts
from tests.browser.pages import FOR_OPERATORS, NO_PAGES, PAGES, Page
from tests.browser.site import Site, sign_in
from tests.chromium import launch_or_skip

pytestmark = pytest.mark.browser

WIDE: ViewportSize = {"width": 1280, "height": 900}
WINDOWS: dict[str, ViewportSize] = {"wide": WIDE, "narrow": {"width": 360, "height": 780}}
LOCALES = {"zh": "zh-CN", "en": "en-US"}
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

# The tests of a page share a process, and with it what is found in one visit for each language.
every_page = pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=pytest.mark.xdist_group(page.name)) for page in PAGES],
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch_or_skip(playwright)
        yield browser
        browser.close()


class Visit:
    """A look at a page, and what went wrong on it so far."""

    def __init__(self, page: BrowserPage) -> None:
        self.page = page
        self.problems: list[str] = []

    def note_error(self, error: Error) -> None:
        self.problems.append(f"script: {error}")

    def note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def open(self, page: Page, site: Site) -> BrowserPage:
        if page.name in FOR_OPERATORS:
            sign_in(self.page)
        answer = self.page.goto(page.address(site))
        assert answer is not None
        assert answer.status == 200
        return self.page


Readers = Callable[..., BrowserPage]


@pytest.fixture(scope="module")
def readers(chromium: Browser, site: Site) -> Iterator[Readers]:
    """A reader of each language, with and without JavaScript, who looks at one page after the
    other: a new window each time would take longer than the page."""
    contexts = []

    @cache
    def reader(language: str, *, javascript: bool = True) -> BrowserPage:
        context = chromium.new_context(
            base_url=site.url,
            locale=LOCALES[language],
            viewport=WIDE,
            java_script_enabled=javascript,
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        return context.new_page()

    yield reader
    for context in contexts:
        context.close()


@contextmanager
def visiting(reader: BrowserPage) -> Iterator[Visit]:
    visit = Visit(reader)
    notes = {"pageerror": visit.note_error, "console": visit.note_message}
    for event, note in notes.items():
        reader.on(event, note)
    yield visit
    for event, note in notes.items():
        reader.remove_listener(event, note)
    reader.goto("about:blank")  # it asks for nothing more
    reader.set_viewport_size(WIDE)
    reader.emulate_media(color_scheme="light")


class Examined(NamedTuple):
    """What one visit has found."""

    texts: list[str]
    problems: list[str]


@pytest.fixture(scope="module")
def examine(readers: Readers, site: Site) -> Callable[[Page, str], Examined]:
    @cache
    def examine(page: Page, language: str) -> Examined:
        """Chinese in the narrow window, English in the wide one."""
        with visiting(readers(language)) as visit:
            opened = visit.open(page, site)
            if page.has_charts:
                expect(opened.locator("canvas, svg").first).to_be_visible()
            texts = examination.texts_of(opened)
            examination.keep_rows(opened, 5)
            found = examination.heading_problems(opened)
            # The window that axe looks at comes last.
            for name in ("wide", "narrow") if language == "zh" else ("narrow", "wide"):
                opened.set_viewport_size(WINDOWS[name])
                if examination.is_wider_than_its_window(opened):
                    found.append(f"{name}: scrolls sideways")
            found += examination.accessibility_problems(opened)
            opened.emulate_media(color_scheme="dark")
            dark = examination.accessibility_problems(opened, only_contrast=True)
            found += [f"dark: {problem}" for problem in dark]
            return Examined(texts, found + visit.problems)

    return examine


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


Examine = Callable[[Page, str], Examined]


@pytest.mark.parametrize("language", LOCALES)
@every_page
def test_page_is_accessible(page: Page, language: str, examine: Examine):
    """In both color schemes: nothing that axe-core objects to, headings in order, no script error,
    no scrolling sideways in either window."""
    found = examine(page, language).problems
    assert not found, "\n".join(found)


@every_page
def test_page_in_english_shows_no_chinese_but_data(page: Page, examine: Examine):
    found = known_texts.chinese_left(examine(page, "en").texts)
    assert not found, "\n".join(found)


@every_page
def test_page_in_chinese_shows_no_english_but_data(
    page: Page, examine: Examine, words: frozenset[str], catalog: dict[str, str]
):
    found = known_texts.english_left(examine(page, "zh").texts, words, catalog)
    assert not found, "\n".join(found)


@every_page
def test_tab_reaches_every_control_and_shows_where_it_is(page: Page, readers: Readers, site: Site):
    with visiting(readers("zh")) as visit:
        found = examination.keyboard_problems(visit.open(page, site))

    assert not found, "\n".join(found)


@every_page
def test_page_answers_without_javascript(page: Page, readers: Readers, site: Site):
    with visiting(readers("zh", javascript=False)) as visit:
        opened = visit.open(page, site)

        expect(opened.locator("h1")).to_be_visible()
        expect(opened.locator("main")).not_to_be_empty()


# --- the table of runs, by keyboard ----------------------------------------------------------


def test_keys_filter_move_select_and_compare(readers: Readers, site: Site):
    with visiting(readers("en")) as visit:
        page = visit.open(by_name("project"), site)
        page.keyboard.press("/")
        page.keyboard.type("metrics.eval_loss < 1.23")
        page.keyboard.press("Enter")
        page.wait_for_url("**filter=**")
        expect(page.locator("tr[data-row]")).to_have_count(2)
        for key in ("j", "x", "j", "k", "j", "x", "c"):
            page.keyboard.press(key)

        page.wait_for_url("**/dashboard/compare?**")
        assert page.url.count("run_") == 2


def test_question_mark_shows_the_keys(readers: Readers, site: Site):
    with visiting(readers("en")) as visit:
        page = visit.open(by_name("project"), site)
        page.keyboard.press("?")

        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).not_to_be_visible()


# --- the main actions without JavaScript -----------------------------------------------------


def test_runs_are_filtered_and_sorted_without_javascript(readers: Readers, site: Site):
    with visiting(readers("en", javascript=False)) as visit:
        page = visit.open(by_name("project"), site)
        page.locator("[name=filter]").first.fill("metrics.eval_loss < 1.23")
        page.get_by_role("button", name="Apply").first.click()
        page.locator("thead").get_by_role("link", name="eval_loss").first.click()

        expect(page.locator("tr[data-row]")).to_have_count(2)
        expect(page.locator("tr[data-row]").first).to_contain_text("sft-lr1e-4-bs128-w100")


def test_runs_are_compared_without_javascript(readers: Readers, site: Site):
    with visiting(readers("en", javascript=False)) as visit:
        page = visit.open(by_name("project/filtered"), site)
        for number in range(2):
            page.locator("tr[data-row] input[type=checkbox]").nth(number).check()
        page.get_by_role("button", name="Compare").click()

        page.wait_for_url("**/dashboard/compare?**")
        expect(page.locator("main")).to_contain_text("sft-lr1e-4-bs128-w100")


def test_curves_are_pictures_without_javascript(readers: Readers, site: Site):
    with visiting(readers("en", javascript=False)) as visit:
        page = visit.open(by_name("run"), site)

        expect(page.locator("main img[src*=plot]").first).to_be_visible()


def by_name(name: str) -> Page:
    return next(page for page in PAGES if page.name == name)
