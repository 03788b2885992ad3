"""What is examined on a page that is open: JavaScript that runs in it, and what it finds."""

import re
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
# WCAG 2.2, levels A and AA.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

_RUN_AXE = """
async only => {
  const found = await axe.run(document, {runOnly: only, resultTypes: ["violations"]});
  return found.violations.map(rule => {
    const [first] = rule.nodes;
    const html = first.html.slice(0, 200);
    return `${rule.id}, ${rule.nodes.length} ×: ${html} ${first.failureSummary}`;
  });
}
"""

# Rows are alike: the first ones of each list are enough.
_KEEP_ROWS = """
count => {
  for (const list of document.querySelectorAll("tbody, ol, ul"))
    [...list.children].slice(count).forEach(row => row.remove());
}
"""

# Each text that a person can see or hear, with the element that has it. Code is in no language.
_TEXTS = """
() => {
  const texts = [];
  const skipped = "script, style, noscript, code, pre, kbd, samp, textarea, [lang]:not(html)";
  const visible = element => element.checkVisibility({visibilityProperty: true});
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (text && !parent.closest(skipped) && visible(parent)) texts.push(text);
  }
  for (const name of ["title", "placeholder", "aria-label", "alt"])
    for (const element of document.querySelectorAll(`body [${name}]`))
      if (!element.closest(skipped)) texts.push(element.getAttribute(name));
  texts.push(document.title);
  return [...new Set(texts)];
}
"""

_HEADINGS = """
() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .filter(heading => heading.checkVisibility())
  .map(heading => Number(heading.tagName[1]))
"""

# What Tab should reach; and from then on, what it has reached.
_PREPARE_KEYBOARD = """
() => {
  const kinds = "a[href], button, input, select, textarea, summary, [tabindex], [contenteditable]";
  const isUsable = element =>
    element.checkVisibility({visibilityProperty: true, opacityProperty: false}) &&
    !element.disabled && element.type !== "hidden" && element.tabIndex >= 0 &&
    !element.closest("[inert]") &&
    !(element.type === "radio" && !element.checked &&
      document.querySelector(`input[type=radio][name="${element.name}"]:checked`));
  const controls = [...document.querySelectorAll(kinds)].filter(isUsable);
  const looks = element => {
    const style = getComputedStyle(element);
    const look = [style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor];
    // What has the focus in a picture shows it by its shapes.
    if (element instanceof SVGElement)
      for (const shape of element.querySelectorAll("*")) {
        const { stroke, strokeWidth, fill } = getComputedStyle(shape);
        look.push(stroke, strokeWidth, fill);
      }
    return look.join();
  };
  const before = new Map(controls.map(control => [control, looks(control)]));
  window.reached = new Set();
  window.unseen = new Set();
  document.addEventListener("focusin", event => {
    window.reached.add(event.target);
    const style = getComputedStyle(event.target);
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    if (!outlined && looks(event.target) === before.get(event.target))
      window.unseen.add(event.target);
  }, true);
  window.missed = () =>
    controls.filter(control => control.isConnected && !window.reached.has(control));
  return controls.length;
}
"""

_KEYBOARD_FINDINGS = """
() => {
  const name = element => element.outerHTML.slice(0, 120);
  return [
    ...window.missed().map(control => `not reached: ${name(control)}`),
    ...[...window.unseen].map(control => `no visible focus: ${name(control)}`),
  ];
}
"""


def keep_rows(page: Page, count: int) -> None:
    """Remove all but the first rows of each list: many alike only take time."""
    page.evaluate(_KEEP_ROWS, count)


def accessibility_problems(page: Page, *, only_contrast: bool = False) -> list[str]:
    """What axe-core finds. Contrast is all that a color scheme changes."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE.read_text())
    only = (
        {"type": "rule", "values": ["color-contrast"]}
        if only_contrast
        else {"type": "tag", "values": TAGS}
    )
    return page.evaluate(_RUN_AXE, only)


def is_wider_than_its_window(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def heading_problems(page: Page) -> list[str]:
    """One heading of level 1, before the others, none of which skips a level."""
    levels = page.evaluate(_HEADINGS)
    problems = [] if levels.count(1) == 1 else [f"{levels.count(1)} headings of level 1"]
    for before, level in zip([0, *levels], levels, strict=False):
        if level > before + 1:
            problems.append(f"h{level} after h{before}")
    return problems


def texts_of(page: Page) -> list[str]:
    """The texts that a person can see or hear, each once."""
    return page.evaluate(_TEXTS)


def keyboard_problems(page: Page) -> list[str]:
    """Controls that Tab does not reach, or whose focus is not to be seen."""
    keep_rows(page, 3)
    count = page.evaluate(_PREPARE_KEYBOARD)
    page.evaluate("document.activeElement?.blur()")
    # A field of a date has several places for Tab to stop at.
    for presses in range(3 * count + 20):
        if presses % 20 == 0 and presses >= count and not page.evaluate("missed().length"):
            break
        page.keyboard.press("Tab")
    return page.evaluate(_KEYBOARD_FINDINGS)


CHINESE = re.compile(r"[\u3400-\u9fff\uff00-\uffef\u3000-\u303f]+")
LATIN_WORD = re.compile(r"[A-Za-z][A-Za-z'-]+[A-Za-z]")
