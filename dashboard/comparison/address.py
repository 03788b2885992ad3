"""The address of a comparison, which holds everything that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

MAX_RUNS: Final = 50
MAX_TEXT: Final = 500  # characters of a parameter; what is longer is no name of ours
MAX_VALUES: Final = 100  # of a parameter
TABS: Final = ("curves", "differences", "summary", "parallel", "scatter", "code")
# Parameters in their order in an address.
NAMES: Final = (
    "runs",
    "tab",
    "baseline",
    "metrics",
    # Of charts: static/js/charts/toolbar.js.
    "x",
    "smooth",
    "log",
    "chart",
    "range",
    "stats",
    "by",
    "sort",
    "lower",
    "higher",
    "columns",
    "scales",
    "brush",
    "xcolumn",
    "ycolumn",
    "color",
    "xscale",
    "yscale",
)


@dataclass(frozen=True, slots=True)
class Address:
    """The known parameters of an address. Every one can be repeated; ``runs`` also takes ids with
    commas between them. Texts that no name of ours can be are left out."""

    values: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, query: Iterable[tuple[str, Sequence[str]]]) -> Address:
        """``query``: the parameters with their values, as QueryDict.lists() has them."""
        given = dict(query)
        found: dict[str, tuple[str, ...]] = {}
        for name in NAMES:
            texts = given.get(name, ())
            if name == "runs":
                texts = [part.strip() for text in texts for part in text.split(",")]
            kept = [text for text in texts if text and "\x00" not in text]
            if name != "runs":
                kept = [text for text in kept if len(text) <= MAX_TEXT][:MAX_VALUES]
            if kept:
                found[name] = tuple(dict.fromkeys(kept))
        return cls(found)

    def all(self, name: str) -> tuple[str, ...]:
        return self.values.get(name, ())

    def one(self, name: str, default: str = "") -> str:
        """The last value, as browsers send a field that occurs twice."""
        texts = self.values.get(name)
        return texts[-1] if texts else default

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """The value if it is one of ``choices``, otherwise the first of these."""
        text = self.one(name)
        return text if text in choices else choices[0]

    @property
    def tab(self) -> str:
        return self.choice("tab", TABS)

    def but(self, **changes: str | Sequence[str] | None) -> Address:
        """This address with other values; None and empty ones are left out."""
        values = dict(self.values)
        for name, change in changes.items():
            texts = (change,) if isinstance(change, str) else tuple(change or ())
            values.pop(name, None)
            if any(texts):
                values[name] = tuple(text for text in texts if text)
        return Address({name: values[name] for name in NAMES if name in values})

    def without(self, run: str) -> Address:
        """This address without a run; the first of the others is then the baseline."""
        left = [other for other in self.all("runs") if other != run]
        baseline = None if self.one("baseline") == run else self.all("baseline")
        return self.but(runs=left, baseline=baseline)

    def pairs(self, *without: str) -> Iterator[tuple[str, str]]:
        """The parameters but those named, each value a pair: the hidden fields of a form."""
        for name, texts in self.values.items():
            if name in without:
                continue
            for text in [",".join(texts)] if name == "runs" else texts:
                yield name, text

    def __str__(self) -> str:
        return "?" + urlencode(list(self.pairs()), safe=",/")


def url_of(run_ids: Iterable[str]) -> str:
    """The comparison of these runs."""
    return f"{reverse('dashboard:compare')}{Address({'runs': tuple(run_ids)})}"
