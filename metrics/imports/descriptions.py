"""The hyperparameters and tags of a run from elsewhere, as far as they can be stored.

A run's curves are worth more than its settings: what does not fit is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from core.text import storable, truncate
from metrics.values import flat
from runs.models import Run
from runs.params_tags import MAX_PARAM_LENGTH, MAX_TAG_LENGTH, log_params, set_tags, text_of
from runs.reports import MAX_BYTES, MAX_NAMES, InvalidReport, check_name


def describe(run: Run, params: Mapping[str, Any], tags: Mapping[str, str]) -> int:
    """Add the params and tags that the run does not have; what it has may have been edited.

    Returns how many cannot be stored. Call with the row locked.
    """
    all_params = [(name, value) for name, value in flat(params) if value is not None]
    new_params = _new(run.hyperparameters, all_params, MAX_PARAM_LENGTH)
    new_tags = _new(run.tags, tags.items(), MAX_TAG_LENGTH)
    known = sum(name in run.hyperparameters for name, _value in all_params)
    known += sum(name in run.tags for name in tags)
    if new_params:
        log_params(run.pk, new_params)
    if new_tags:
        set_tags(run.pk, new_tags)
    return len(all_params) + len(tags) - known - len(new_params) - len(new_tags)


def _new(
    known: Mapping[str, Any], values: Iterable[tuple[str, Any]], max_length: int
) -> dict[str, str]:
    """As many of the values, the first ones, as a run can have next to those that are known."""
    room = MAX_BYTES - len(orjson.dumps(known))
    new: dict[str, str] = {}
    for name, text in _texts(values):
        if name in known or len(known) + len(new) == MAX_NAMES:
            continue
        text = truncate(text, max_length)
        size = len(orjson.dumps({name: text}))
        if size <= room:
            new[name] = text
            room -= size
    return new


def _texts(values: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """The values as text, without those that have no valid name, or no text."""
    for name, value in values:
        text = _text(value)
        if text is not None and _is_name(name):
            yield name, text


def _text(value: Any) -> str | None:
    try:
        return storable(text_of(value))
    except TypeError:  # orjson has no integers of more than 64 bits and no lone surrogates
        pass
    try:
        return storable(json.dumps(value, ensure_ascii=False, default=str))
    except (ValueError, RecursionError):
        return None


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidReport:
        return False
    return True
