"""What a team asks every day, on the demo data: each answer is at most three clicks from home.

Typing and keys are free; opening home is where it begins.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.site import Site
from trainhub.demo.pretraining import SPIKE_AT

pytestmark = [
    pytest.mark.processes,
    pytest.mark.browser,
    pytest.mark.xdist_group("questions"),
]  # one site for all

MOST_CLICKS = 3
PATIENCE_MS = 30_000
BEST = "sft-lr1e-4-bs128-w100"
expect.set_options(timeout=PATIENCE_MS)


class Person:
    """A browser's page, whose clicks are counted."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site
        self.clicks = 0

    def click(self, place: Locator, **options: object) -> None:
        self.clicks += 1
        place.click(**options)

    def open_project(self, name: str) -> None:
        self.click(self.page.locator(f'main a[href$="{self.site.project(name)}"]').first)
        self.page.wait_for_url(f"**{self.site.project(name)}*")  # home has rows of runs too
        expect(self.rows.first).to_be_visible()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def filter(self, text: str) -> None:
        self.press("/")
        self.page.keyboard.type(text)
        self.press("Enter")
        self.page.wait_for_url("**filter=**")

    def row(self, name: str) -> Locator:
        """The row of a table of runs that has the run of this name."""
        return self.page.locator("tr", has=self.page.get_by_role("link", name=name, exact=True))

    @property
    def rows(self) -> Locator:
        return self.page.locator("tr[data-row]")

    @property
    def names(self) -> list[str]:
        """Of the runs in the table, from its top."""
        return self.rows.locator("a").all_inner_texts()

    @property
    def main(self) -> Locator:
        return self.page.locator("main")


@pytest.fixture
def person(chromium: Browser, site: Site) -> Iterator[Person]:
    """Somebody at home, who reads English. Fails the test after too many clicks."""
    size = {"width": 1400, "height": 900}
    context = chromium.new_context(base_url=site.url, locale="en-US", viewport=size)
    context.set_default_timeout(PATIENCE_MS)
    person = Person(context.new_page(), site)
    person.page.goto("/dashboard")
    yield person
    context.close()
    assert person.clicks <= MOST_CLICKS


def test_which_of_forty_runs_is_the_best(person: Person):
    person.open_project("tuning")
    person.click(person.page.locator("thead").get_by_role("link", name="eval_loss").first)

    expect(person.page.locator("th[aria-sort=ascending]")).to_contain_text("eval_loss")
    expect(person.rows.first).to_contain_text(BEST)


def test_what_differs_between_two_runs(person: Person):
    person.open_project("tuning")
    person.filter(
        'params.lora_rank = "32" and params.batch_size = "128" and metrics.eval_loss < 1.246'
    )
    expect(person.rows).to_have_count(2)
    person.press("j", "x", "j", "x", "c")
    person.click(person.page.get_by_role("link", name="Differences"))

    row = person.main.locator("tr", has_text="learning_rate").first
    expect(row).to_contain_text("0.0001")
    expect(row).to_contain_text("0.0003")


def test_a_spike_with_its_lines_in_the_log(person: Person):
    """The released run shows the curve of its ancestors, and with it the spike."""
    person.click(person.main.get_by_role("link", name="base-1.3b-anneal", exact=True).first)
    chart = person.page.locator("figure", has_text="train/grad_norm").first
    canvas = chart.locator("canvas")
    expect(canvas).to_be_visible()
    box = chart.locator(".u-over").bounding_box()
    assert box is not None
    share = SPIKE_AT / 24_000
    person.click(
        chart.locator(".u-over"), position={"x": share * box["width"], "y": box["height"] / 2}
    )
    person.click(person.page.get_by_role("dialog").get_by_role("link", name="log"))

    expect(person.main).to_contain_text("loss spike: 8.79 after 2.41")


def test_what_runs_everywhere(person: Person):
    for name in ("base-3b-probe", "sft-qlora-laptop", "ppo-kl0.05-reward-v2"):
        expect(person.row(name).first).to_contain_text("%")
    assert person.clicks == 0


def test_why_something_waits(person: Person):
    expect(person.main).to_contain_text("It requests 12 A100 GPUs, but there are only 8.")
    assert person.clicks == 0


def test_what_failed_last_night_and_why(person: Person):
    for reason in (
        "No space left on device",
        "CUDA out of memory",
        "loss is nan at iteration 1240",
        "Its worker gpu-node-3 died.",
        "NCCL communicator was aborted",
    ):
        expect(person.main).to_contain_text(reason)
    assert person.clicks == 0


def test_where_the_gpu_hours_have_gone(person: Person):
    person.click(person.page.get_by_role("navigation").get_by_role("link", name="queue"))

    expect(person.main).to_contain_text("GPU-hours")
    expect(person.main).to_contain_text(person.site.names["tuning"])


def test_who_released_a_model(person: Person):
    released = person.main.locator("li, tr, p", has_text=BEST)

    expect(released.filter(has_text=person.site.people[3]).first).to_be_visible()
    assert person.clicks == 0


def test_the_whole_curve_of_a_resumed_run(person: Person):
    """It begins with its ancestors' first steps."""
    asked: list[str] = []
    person.page.on("request", lambda request: asked.append(request.url))
    person.click(person.main.get_by_role("link", name="base-1.3b-anneal", exact=True).first)
    expect(person.page.locator("figure canvas").first).to_be_visible()

    series = [url for url in asked if "/series" in url]
    assert series
    ancestors = [person.site.runs[name] for name in ("base-1.3b", "base-1.3b-lower-lr")]
    curves = person.page.evaluate("url => fetch(url).then(answer => answer.text())", series[0])
    assert all(run in curves for run in ancestors)


def test_ten_curves_in_one_chart(person: Person):
    person.open_project("tuning")
    person.filter('metrics.eval_loss < 1.4 and params.warmup_steps = "100"')
    person.press(*["j", "x"] * 10, "c")

    person.page.wait_for_url("**/compare?**")
    expect(person.page.locator("figure canvas").first).to_be_visible()
    assert person.page.url.count("run_") == 10


def test_a_shared_address_shows_the_same_view(person: Person, chromium: Browser):
    person.open_project("tuning")
    person.filter("metrics.eval_loss < 1.3")
    person.click(person.page.locator("thead").get_by_role("link", name="eval_loss").first)
    expect(person.page.locator("th[aria-sort=ascending]")).to_contain_text("eval_loss")
    mine = person.names

    other = chromium.new_context(locale="en-US")
    page = other.new_page()
    page.goto(person.page.url)
    theirs = Person(page, person.site).names
    other.close()

    assert theirs == mine != []


def test_which_runs_have_a_hyperparameter_and_a_metric(person: Person):
    person.open_project("tuning")
    person.filter('metrics.eval_loss < 1.3 and params.learning_rate = "0.0003"')

    expect(person.rows).to_have_count(3)
    assert person.clicks <= MOST_CLICKS
