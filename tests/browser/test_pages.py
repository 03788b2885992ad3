"""Every page on the demo data: for every reader, in every window, by keyboard, without JavaScript.

Each test is of one page, so that its name says which is at fault.
"""

import gettext
import re
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
)
from playwright.sync_api import Page as BrowserPage

from dashboard import urls
from tests.browser import examination, known_texts
from tests.browser.pages import DASHBOARD, FOR_OPERATORS, NO_PAGES, PAGES, SIGNED_OUT, Page
from tests.browser.site import Site, sign_in

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


class Visit:
    """A look at a page, and what went wrong on it so far."""

    def __init__(self, page: BrowserPage) -> None:
        self.page = page
        self.problems: list[str] = []

    def note_error(self, error: Error) -> None:
        self.problems.append(f"script: {error}")

    def note_message(self, message: ConsoleMessage) -> None:
        is_of_page = message.location.get("url") == self.page.url
        is_status = is_of_page and message.text.startswith("Failed to load")  # which is known
        if message.type == "error" and not is_status:
            self.problems.append(message.text)

    def open(self, page: Page, site: Site) -> BrowserPage:
        if page.name in FOR_OPERATORS:
            sign_in(self.page)
        if page.name in SIGNED_OUT:
            self.page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
        answer = self.page.goto(page.address(site))
        assert answer is not None
        assert answer.status == page.status
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
        with visiting(readers(language)) as visit:
            opened = visit.open(page, site)
            if page.has_charts:
                expect(opened.locator("canvas, svg").first).to_be_visible()
            texts = examination.texts_of(opened)
            examination.keep_rows(opened, 5)
            found = examination.heading_problems(opened)
            for name, size in WINDOWS.items():
                opened.set_viewport_size(size)
                if examination.is_wider_than_its_window(opened):
                    found.append(f"{name}: scrolls sideways")
                problems = examination.accessibility_problems(opened)
                found += [f"{name}: {problem}" for problem in problems]
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

    assert {page.url_name for page in DASHBOARD} | NO_PAGES == named


Examine = Callable[[Page, str], Examined]


@pytest.mark.parametrize("language", LOCALES)
@every_page
def test_page_is_accessible(page: Page, language: str, examine: Examine):
    """In both windows and color schemes: nothing that axe-core objects to, headings in order, no
    script error, no scrolling sideways."""
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


# --- the menu "Display" ------------------------------------------------------------------------


_GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.parametrize("name", ["home", "project", "run", "compare/summary", "login"])
def test_dark_by_the_switch_is_as_legible_as_by_the_system(name: str, readers: Readers, site: Site):
    with visiting(readers("en")) as visit, cookie(visit.page, site, "theme", "dark"):
        page = visit.open(by_name(name), site)
        examination.keep_rows(page, 5)
        ground = page.evaluate(_GROUND)
        problems = examination.accessibility_problems(page, only_contrast=True)
        by_system(page)

        assert ground == page.evaluate(_GROUND)
    assert not problems, "\n".join(problems)


def by_system(page: BrowserPage) -> None:
    """Dark, but as the system says."""
    page.evaluate("document.documentElement.removeAttribute('data-theme')")
    page.emulate_media(color_scheme="dark")


def test_colors_are_switched_by_keyboard(readers: Readers, site: Site):
    with visiting(readers("en")) as visit, cookie(visit.page, site, "theme", "light"):
        page = visit.open(by_name("workers"), site)
        press_by_keyboard(page, "Display", "Dark")

        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        expect(page).to_have_url(re.compile("/dashboard/workers$"))


def test_language_is_switched_by_keyboard(readers: Readers, site: Site):
    language = settings.LANGUAGE_COOKIE_NAME
    with visiting(readers("en")) as visit, cookie(visit.page, site, language, "en"):
        page = visit.open(by_name("workers"), site)
        press_by_keyboard(page, "Display", "中文")

        expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
        expect(page).to_have_url(re.compile("/dashboard/workers$"))


@contextmanager
def cookie(page: BrowserPage, site: Site, name: str, value: str) -> Iterator[None]:
    """With the cookie, until the test ends: later ones use the same window."""
    page.context.add_cookies([{"name": name, "value": value, "url": site.url}])
    yield
    page.context.clear_cookies(name=name)


def press_by_keyboard(page: BrowserPage, *texts: str) -> None:
    """Tab to each control with that text, and press Enter there."""
    focused = "document.activeElement.textContent.trim()"
    for text in texts:
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate(focused) == text:
                break
        page.keyboard.press("Enter")


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
