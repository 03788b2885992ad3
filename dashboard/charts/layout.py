"""Which charts a run has: one for each quantity, in sections by prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from runs.system_metrics import PREFIX

# train_loss, eval_loss, val/loss: the same quantity, measured on different data splits.
SPLIT_PREFIX: Final = re.compile(r"\A(train|training|eval|val|valid|validation|test)[_/.-](?=.)")


def group_by_title(keys: Iterable[str]) -> dict[str, list[str]]:
    """Map each chart title to its metrics: losses first, then the rest by name."""
    charts: dict[str, list[str]] = {}
    for key in sorted(keys):
        charts.setdefault(SPLIT_PREFIX.sub("", key), []).append(key)
    for members in charts.values():  # training metrics before evaluation metrics
        members.sort(key=lambda key: (not key.startswith("train"), key))
    named = {
        title if len(members) > 1 else members[0]: members for title, members in charts.items()
    }
    return dict(sorted(named.items(), key=lambda chart: ("loss" not in chart[0], chart[0])))


def sections(keys: Iterable[str]) -> list[dict[str, Any]]:
    """The charts of ``keys`` as ``{"name": "train/", "charts": [{"title": …, "keys": […]}]}``.

    The section of a chart is the part of its first metric's name before the first slash, with it.
    Those without come first, then those with a loss; the metrics of the host come last.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for title, members in group_by_title(keys).items():
        prefix, slash, _rest = members[0].partition("/")
        name = prefix + slash if slash else ""
        found.setdefault(name, []).append({"title": title, "keys": members})

    def order(name: str) -> tuple[bool, bool, bool, str]:
        has_loss = any("loss" in chart["title"] for chart in found[name])
        return name == PREFIX, name != "", not has_loss, name

    return [{"name": name, "charts": found[name]} for name in sorted(found, key=order)]
