"""The hyperparameters and tags that a training reports.

Each function is one transaction that locks the run's row, so that concurrent callers do not
overwrite each other. A run in the trash accepts no reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from django.db import transaction

from core.exceptions import InvalidInput
from core.text import MAX_NAME_LENGTH, truncate
from projects.hyperparameters import number_of
from runs.models import EventKind, Run
from runs.reports import check_size, lock_reporting_run, truncate_texts

# The limits of MLflow clients.
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 8000
NAME_TAG = "mlflow.runName"  # the tag with which MLflow clients read and set the run's name


class ParamChanged(InvalidInput):
    code = "param_changed"


def log_params(run_id: str, params: Mapping[str, str]) -> None:
    """Add ``params``, unparsed, to the run's hyperparameters.

    Params are immutable: logging the same value again does nothing, a different one is refused.
    Only a run that continues (resumed, reopened, another attempt), or whose values come from its
    recipe and its user, may report different values; an event records them. Values that are too
    long are truncated, as in MLflow. Raises InvalidReport, ParamChanged, InTrash,
    Run.DoesNotExist.
    """
    params = truncate_texts(params, MAX_PARAM_LENGTH)
    with transaction.atomic():
        run = lock_reporting_run(run_id)
        known: dict[str, Any] = run.hyperparameters
        new = {key: text for key, text in params.items() if key not in known}
        drifted = {
            key: text
            for key, text in params.items()
            if key in known and not equals_text(known[key], text)
        }
        if drifted and not _may_change_params(run):
            key, text = next(iter(drifted.items()))
            raise ParamChanged(_immutable_message(run, key, text_of(known[key]), text))
        if new or drifted:
            merged = known | new | drifted
            check_size(merged)
            if not run.is_unmanaged and run.requested_hyperparameters is None:
                run.change(requested_hyperparameters=known)
            run.change(hyperparameters=merged)
        if drifted:
            run.note(EventKind.PARAMS_CHANGED, reason=_drift(known, drifted))


def _may_change_params(run: Run) -> bool:
    return not run.is_unmanaged or run.attempt > 1 or run.resumed_from_id is not None


def _immutable_message(run: Run, key: str, old: str, new: str) -> str:
    # MLflow's text in every language, because programs match it.
    return (
        f"Changing param values is not allowed. Param with key='{key}' was already logged with "
        f"value='{old}' for run ID='{run.pk}'. Attempted logging new value '{new}'."
    )


def _drift(known: Mapping[str, Any], drifted: Mapping[str, str]) -> str:
    return "\n".join(f"{key}: {text_of(known[key])} → {text}" for key, text in drifted.items())


def text_of(value: Any) -> str:
    """A hyperparameter as MLflow clients see it: numbers as Python formats them, else JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return orjson.dumps(value).decode()


def equals_text(value: Any, text: str) -> bool:
    """Whether ``text`` denotes the hyperparameter ``value``, e.g. ``3e-5`` the number 0.00003."""
    if text in (text_of(value), str(value)):
        return True
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = number_of(text)
        return number is not None and number == value
    return False


def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set ``tags``; the last writer wins. Raises InvalidReport, InTrash, Run.DoesNotExist."""
    tags = truncate_texts(tags, MAX_TAG_LENGTH)
    with transaction.atomic():
        run = lock_reporting_run(run_id)
        others, name = split_name(tags)
        changes: dict[str, Any] = {}
        if name and name != run.name:
            changes["name"] = name
        if run.tags != (merged := run.tags | others):
            check_size(merged)
            changes["tags"] = merged
        if changes:
            run.change(**changes)


def split_name(tags: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """``tags`` without NAME_TAG, and the run name it holds; empty if there is none."""
    others = {key: text for key, text in tags.items() if key != NAME_TAG}
    return others, truncate(tags.get(NAME_TAG, "").strip(), MAX_NAME_LENGTH)


def delete_tag(run_id: str, key: str) -> bool:
    """Delete the tag; return whether it existed. Raises InTrash, Run.DoesNotExist."""
    with transaction.atomic():
        run = lock_reporting_run(run_id)
        if key not in run.tags:
            return False
        run.change(tags={name: text for name, text in run.tags.items() if name != key})
        return True
