"""The datasets and models that a training reports: its inputs and outputs.

Each function is one transaction that locks the run's row. A run in the trash accepts no reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext as _

from runs.models import DatasetInput, ModelLink
from runs.reports import InvalidReport, check_storable, lock_reporting_run

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


def log_inputs(
    run_id: str, datasets: Sequence[Mapping[str, Any]], model_ids: Iterable[str] = ()
) -> None:
    """Record the datasets and models that the run reads. Idempotent.

    ``datasets``: the fields of DatasetInput. Raises InvalidReport, InTrash, Run.DoesNotExist.
    """
    for dataset in datasets:
        _check_dataset(dataset)
    links = [ModelLink(run_id=run_id, model_id=_id(id), is_output=False) for id in model_ids]
    with transaction.atomic():
        run = lock_reporting_run(run_id)
        DatasetInput.objects.bulk_create(
            [DatasetInput(run=run, **dataset) for dataset in datasets], ignore_conflicts=True
        )
        ModelLink.objects.bulk_create(links, ignore_conflicts=True)
        if datasets and not run.dataset:
            run.change(dataset=datasets[0]["name"])


def log_outputs(run_id: str, models: Iterable[tuple[str, int]]) -> None:
    """Record the models that the run produces, as (id, step). See ``log_inputs``."""
    links = [
        ModelLink(run_id=run_id, model_id=_id(id), is_output=True, step=step) for id, step in models
    ]
    with transaction.atomic():
        lock_reporting_run(run_id)
        ModelLink.objects.bulk_create(links, ignore_conflicts=True)


def _id(text: str) -> str:
    if not re.fullmatch(r"[\w\-]{1,64}", text):
        raise InvalidReport(_("%(id)s is not a valid model ID.") % {"id": repr(text[:80])})
    return text


def _check_dataset(dataset: Mapping[str, Any]) -> None:
    for field, limit in DATASET_LENGTHS.items():
        text = dataset.get(field, "")
        if len(text) > limit or (field in ("name", "digest") and not text):
            raise InvalidReport(
                _("A dataset's %(field)s must have 1 to %(limit)d characters.")
                % {"field": field, "limit": limit}
            )
        check_storable(field, text)
    for key, text in dataset.get("tags", {}).items():
        if not 1 <= len(key) <= MAX_DATASET_TAG_KEY or len(text) > MAX_DATASET_TAG:
            raise InvalidReport(
                _(
                    "A dataset tag must have a name of 1 to %(key)d characters and a value of at "
                    "most %(text)d."
                )
                % {"key": MAX_DATASET_TAG_KEY, "text": MAX_DATASET_TAG}
            )
        check_storable(key[:80], key + text)
