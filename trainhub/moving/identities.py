"""The ids of what comes in: those that it had, if none of them is taken here, else new ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import models

from artifacts.models import Artifact
from core.ids import new_id
from projects.models import Project
from registry.evaluation_rules import EvaluationRule
from registry.logged_models import LoggedModel, new_model_id
from registry.models import RegisteredModel
from registry.release_requests import ReleaseRequest
from runs.models import Run
from sweeps.models import Sweep

# By the name of their table.
IDENTIFIED: Final[dict[str, type[models.Model]]] = {
    "project": Project,
    "runs": Run,
    "artifacts": Artifact,
    "logged_models": LoggedModel,
    "registered_models": RegisteredModel,
    "sweeps": Sweep,
    "release_requests": ReleaseRequest,
    "evaluation_rules": EvaluationRule,
}
PREFIXES: Final = {
    "project": "proj",
    "runs": "run",
    "registered_models": "model",
    "sweeps": "sweep",
    "release_requests": "rel",
    "evaluation_rules": "rule",
}
IDS_AT_ONCE: Final = 5000
# What may be an id within a text, such as the URI of a model's source.
WORD: Final = re.compile(r"[A-Za-z0-9_\-]+")


@dataclass
class Identities:
    """``mapped``: the id here of each that the export has."""

    mapped: dict[str, str] = field(default_factory=dict)

    def of(self, old: Any) -> Any:
        """The id here; of what the export does not have, the same."""
        return self.mapped.get(old, old) if isinstance(old, str) else old

    def in_text(self, text: str) -> str:
        """``text`` with the ids that it names as they are here."""
        return WORD.sub(lambda match: self.mapped.get(match[0], match[0]), text)


def identities(ids: Mapping[str, Iterable[str]]) -> Identities:
    """``ids``: those of the export, by table."""
    by_table = {name: list(found) for name, found in ids.items()}
    is_taken = any(_are_taken(IDENTIFIED[name], found) for name, found in by_table.items())
    return Identities(
        {
            old: _new(name, old) if is_taken else old
            for name, found in by_table.items()
            for old in found
        }
    )


def _are_taken(model: type[models.Model], ids: list[str]) -> bool:
    return any(
        model._default_manager.filter(pk__in=ids[start : start + IDS_AT_ONCE]).exists()
        for start in range(0, len(ids), IDS_AT_ONCE)
    )


def _new(table: str, old: str) -> str:
    if table == "logged_models":
        return new_model_id()
    return new_id(PREFIXES.get(table) or old.partition("_")[0])  # an artifact's is its type
