"""What a training says of itself beside metrics and lines: hyperparameters, tags, its data.

Each function is one transaction with the run's row locked: whole or not at all, and of callers
side by side none undoes what another has written. A run in the trash takes nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from projects.hyperparameters import number_of
from runs.external import fitting
from runs.models import DatasetInput, EventKind, ModelLink, Run
from trainhub.exceptions import InvalidInput

# As the field's clients keep to.
MAX_NAME_LENGTH = 250
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 8000
NAME: Final = re.compile(r"[/\w.\- :]+")
# Of one run, together: its row stays readable. A client's largest batch (100 of each) fits in.
MAX_NAMES = 2000
MAX_BYTES = 2 * 1024 * 1024

NAME_TAG = "mlflow.runName"  # the tag by which MLflow's clients read and set the run's name
DATASET_LENGTHS: Final = {
    "name": 500,
    "digest": 36,
    "source_type": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
MAX_DATASET_TAG_KEY = 255
MAX_DATASET_TAG = 500


class InvalidReport(InvalidInput):
    code = "invalid_report"


class ParamChanged(InvalidInput):
    code = "param_changed"


class InTrash(InvalidInput):
    code = "run_deleted"


def reporting(run_id: str) -> Run:
    """The run, its row locked, which takes reports and has been heard of with this one.

    Raises Run.DoesNotExist, InTrash.
    """
    run = Run.objects.lock(run_id)
    if run.deleted_at is not None:
        raise InTrash(_("The run %(id)s is in the trash: restore it first.") % {"id": run_id})
    run.change(reported_at=timezone.now())
    return run


# --- hyperparameters -------------------------------------------------------------------------


def log_params(run_id: str, params: Mapping[str, str]) -> None:
    """Keep ``params``, texts as they are, among the run's hyperparameters.

    They do not change: the same once more is nothing new, another is refused. But a run that goes
    on (resumed, reopened, another attempt), or whose values its recipe and its user have set, may
    say another, and an event tells what has drifted. What is too long is cut, as MLflow does.
    Raises InvalidReport, ParamChanged, InTrash, Run.DoesNotExist.
    """
    params = fitting_texts(params, MAX_PARAM_LENGTH)
    with transaction.atomic():
        run = reporting(run_id)
        known: dict[str, Any] = run.hyperparameters
        new = {key: text for key, text in params.items() if key not in known}
        drifted = {
            key: text
            for key, text in params.items()
            if key in known and not means(known[key], text)
        }
        if drifted and not _goes_on(run):
            key, text = next(iter(drifted.items()))
            raise ParamChanged(_unchangeable(run, key, text_of(known[key]), text))
        if new or drifted:
            merged = known | new | drifted
            _check_size(merged)
            run.change(hyperparameters=merged)
        if drifted:
            run.note(EventKind.PARAMS_CHANGED, reason=_drift(known, drifted))


def _goes_on(run: Run) -> bool:
    return not run.is_external or run.attempt > 1 or run.resumed_from_id is not None


def _unchangeable(run: Run, key: str, old: str, new: str) -> str:
    # MLflow's own words in every language: there are programs that look for them.
    return (
        f"Changing param values is not allowed. Param with key='{key}' was already logged with "
        f"value='{old}' for run ID='{run.pk}'. Attempted logging new value '{new}'."
    )


def _drift(known: Mapping[str, Any], drifted: Mapping[str, str]) -> str:
    return "\n".join(f"{key}: {text_of(known[key])} → {text}" for key, text in drifted.items())


def text_of(value: Any) -> str:
    """A hyperparameter as MLflow's clients see it: numbers as Python writes them, else JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return orjson.dumps(value).decode()


def means(value: Any, text: str) -> bool:
    """Whether ``text`` says the hyperparameter ``value``, e.g. ``3e-5`` the number 0.00003."""
    if text in (text_of(value), str(value)):
        return True
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = number_of(text)
        return number is not None and number == value
    return False


# --- tags ------------------------------------------------------------------------------------


def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set ``tags``; the last to say one wins. Raises InvalidReport, InTrash, Run.DoesNotExist."""
    tags = fitting_texts(tags, MAX_TAG_LENGTH)
    with transaction.atomic():
        run = reporting(run_id)
        given, name = split_name(tags)
        changes: dict[str, Any] = {}
        if name and name != run.name:
            changes["name"] = name
        if run.tags != (merged := run.tags | given):
            _check_size(merged)
            changes["tags"] = merged
        if changes:
            run.change(**changes)


def split_name(tags: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """``tags`` without the one that is the run's name, and that name; empty if they hold none."""
    others = {key: text for key, text in tags.items() if key != NAME_TAG}
    return others, fitting(tags.get(NAME_TAG, ""))


def delete_tag(run_id: str, key: str) -> bool:
    """Whether there was one to delete. Raises InTrash, Run.DoesNotExist."""
    with transaction.atomic():
        run = reporting(run_id)
        if key not in run.tags:
            return False
        run.change(tags={name: text for name, text in run.tags.items() if name != key})
        return True


# --- data and models -------------------------------------------------------------------------


def log_inputs(
    run_id: str, datasets: Sequence[Mapping[str, Any]], model_ids: Iterable[str] = ()
) -> None:
    """Note the datasets and models that the run reads; told again, they are there once.

    ``datasets``: the fields of DatasetInput. Raises InvalidReport, InTrash, Run.DoesNotExist.
    """
    for dataset in datasets:
        _check_dataset(dataset)
    links = [ModelLink(run_id=run_id, model_id=_id(id), is_output=False) for id in model_ids]
    with transaction.atomic():
        run = reporting(run_id)
        DatasetInput.objects.bulk_create(
            [DatasetInput(run=run, **dataset) for dataset in datasets], ignore_conflicts=True
        )
        ModelLink.objects.bulk_create(links, ignore_conflicts=True)
        if datasets and not run.dataset:
            run.change(dataset=datasets[0]["name"])


def log_outputs(run_id: str, models: Iterable[tuple[str, int]]) -> None:
    """Note the models that the run makes: (id, step). As ``log_inputs``."""
    links = [
        ModelLink(run_id=run_id, model_id=_id(id), is_output=True, step=step) for id, step in models
    ]
    with transaction.atomic():
        reporting(run_id)
        ModelLink.objects.bulk_create(links, ignore_conflicts=True)


def _id(text: str) -> str:
    if not re.fullmatch(r"[\w\-]{1,64}", text):
        raise InvalidReport(_("%(id)s is no model's id.") % {"id": repr(text[:80])})
    return text


def _check_dataset(dataset: Mapping[str, Any]) -> None:
    for field, limit in DATASET_LENGTHS.items():
        text = dataset.get(field, "")
        if len(text) > limit or (field in ("name", "digest") and not text):
            raise InvalidReport(
                _("A dataset's %(field)s has 1 to %(limit)d characters.")
                % {"field": field, "limit": limit}
            )
        _check_storable(field, text)
    for key, text in dataset.get("tags", {}).items():
        if not 1 <= len(key) <= MAX_DATASET_TAG_KEY or len(text) > MAX_DATASET_TAG:
            raise InvalidReport(
                _("A dataset's tag has a name of 1 to %(key)d and %(text)d characters at most.")
                % {"key": MAX_DATASET_TAG_KEY, "text": MAX_DATASET_TAG}
            )
        _check_storable(key[:80], key + text)


# --- bounds ----------------------------------------------------------------------------------


def fitting_texts(texts: Mapping[str, str], max_length: int) -> dict[str, str]:
    """``texts``, cut where they are too long: no training should fail for a long prompt, and none
    does with MLflow's own server. Raises InvalidReport for a name or a text that is refused."""
    cut = {
        name: text if len(text) <= max_length else text[: max_length - 1] + "…"
        for name, text in texts.items()
    }
    check_texts(cut, max_length)
    return cut


def check_texts(texts: Mapping[str, str], max_length: int) -> None:
    """Raises InvalidReport for a name or a text that is refused."""
    for name, text in texts.items():
        check_name(name)
        if len(text) > max_length:
            raise InvalidReport(
                _("The value of %(name)s has %(length)d characters; %(limit)d is the limit.")
                % {"name": name, "length": len(text), "limit": max_length}
            )
        _check_storable(name, text)


def check_name(name: str) -> None:
    """A name of a hyperparameter, tag or metric: it may become a path, and must be a plain one.

    Raises InvalidReport.
    """
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise InvalidReport(_("A name has 1 to %(limit)d characters.") % {"limit": MAX_NAME_LENGTH})
    if not NAME.fullmatch(name) or posixpath.normpath(name) != name or name[0] in "/" or _up(name):
        raise InvalidReport(
            _(
                "The name %(name)s is refused: letters, digits, spaces and _ - . : / may be in it, "
                "and as a path it must be a plain relative one."
            )
            % {"name": repr(name)}
        )


def _up(name: str) -> bool:
    return name == "." or name.startswith("..")


def _check_storable(name: str, text: str) -> None:
    if "\x00" in text:
        raise InvalidReport(_("%(name)s holds a NUL character.") % {"name": name})


def _check_size(texts: Mapping[str, Any]) -> None:
    if len(texts) > MAX_NAMES or len(orjson.dumps(texts)) > MAX_BYTES:
        raise InvalidReport(
            _("A run has %(names)d names and %(bytes)d bytes of them at most.")
            % {"names": MAX_NAMES, "bytes": MAX_BYTES}
        )
