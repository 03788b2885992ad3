"""What of a row changes as it comes in: ids, users, recipes, and what was going on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Field, ForeignKey
from django.utils.translation import gettext as _

from accounts.models import Team
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.text import MAX_NAME_LENGTH, truncate
from registry.models import RegisteredModel
from registry.release_policy import checked_gate
from runs.models import Recipe
from trainhub.moving.endings import end_request, end_run, end_sweep, end_trial
from trainhub.moving.export_reader import Export
from trainhub.moving.identities import IDENTIFIED, Identities
from trainhub.moving.layout import MovingError, damaged, table_path
from trainhub.moving.tables import Row, Table, imported

Values = dict[str, Any]


@dataclass
class Adapting:
    """``keep_releases``: whether what was released there is released here; ``versions``: the keys
    here of the model versions that have come in, by those there."""

    export: Export
    ids: Identities
    name: str
    owner: User | None
    team: Team | None
    keep_releases: bool = False
    versions: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unreleased: int = 0
    _recipes: set[str] = field(default_factory=set)

    def values(self, table: Table, row: Row) -> Values | None:
        """The row as it is here; None if it does not come in."""
        values = imported(table, row, self._users.get)
        for key, value in values.items():
            if key == "id" or key.endswith("_id"):
                values[key] = self.ids.of(value)
        adapted: Values | None = values
        if table.name == "artifacts":
            adapted = self._artifact(values, row)
        elif (adapt := getattr(self, f"_{table.name}", None)) and adapt(values) is False:
            adapted = None
        if adapted is not None:
            self._keep_within_the_export(table, adapted)
        return adapted

    def _keep_within_the_export(self, table: Table, values: Values) -> None:
        """Let ``values`` refer to no row of another project, which somebody else may have. Raises
        MovingError."""
        for column in table.fields:
            if not _may_lead_elsewhere(table, column):
                continue
            value = values[column.attname]
            if value is None or value in self._here:
                continue
            if not column.null:
                raise MovingError(damaged(table_path(table.name)))
            values[column.attname] = None

    def file(self, row: Row) -> str:
        """A logged model's files are in a folder that has its id."""
        file: str = row["file"]
        return self.ids.in_text(file) if file.startswith("models/m-") else file

    @cached_property
    def _users(self) -> dict[str, int]:
        return dict(User.objects.values_list("username", "pk"))

    @cached_property
    def _artifacts(self) -> set[str]:
        return {self.ids.of(row["id"]) for row in self.export.artifacts()}

    @cached_property
    def _here(self) -> set[str]:
        return set(self.ids.mapped.values())

    @cached_property
    def _ended_at(self) -> datetime:
        return datetime.fromisoformat(self.export.manifest.exported_at)

    @property
    def _owner_id(self) -> int | None:
        return None if self.owner is None else self.owner.pk

    @property
    def _team_id(self) -> Any:
        return None if self.team is None else self.team.pk

    # --- by table --------------------------------------------------------------------------------

    def _project(self, values: Values) -> None:
        values["team_id"] = self._team_id
        if self.name:
            values["name"] = truncate(self.name, MAX_NAME_LENGTH)

    def _runs(self, values: Values) -> None:
        values["recipe_id"] = self._recipe(values["recipe_id"])
        values["tags"] = {
            key: self.ids.in_text(text) if key.startswith("mlflow.") else text
            for key, text in values["tags"].items()
        }
        resumed_from = values["resumed_from_id"]
        if resumed_from is not None and resumed_from not in self._artifacts:
            is_here = Artifact.objects.filter(pk=resumed_from).exists()  # of another project
            values["resumed_from_id"] = resumed_from if is_here else None
        end_run(values, self._ended_at)

    def _recipe(self, name: str | None) -> str | None:
        """Recipes are commands, which stay where they are: one that is not here is named in a
        disabled recipe."""
        if name is None or name in self._recipes:
            return name
        defaults = {
            "executor": "process",
            "command": ["false"],  # it must have one
            "enabled": False,
            "description": "Of imported runs: not the command that they had.",
        }
        _recipe, is_new = Recipe.objects.get_or_create(name=name, defaults=defaults)
        if is_new:
            text = _(
                "There was no recipe %(name)s: it is there now, disabled and without its command."
            )
            self.notes.append(text % {"name": name})
        self._recipes.add(name)
        return name

    def _artifact(self, values: Values, row: Row) -> Values | None:
        if values["id"] not in self._artifacts:
            return None
        _path, facts = self.export.bytes_of(row)
        return {**values, "file": self.file(row), "size_bytes": facts.bytes, "sha256": facts.sha256}

    def _run_code(self, values: Values) -> None:
        """The storage may have lacked the code."""
        if f"code/{values['bundle_id']}.zip" not in self.export.manifest.files:
            values["bundle_id"] = None

    def _artifact_tags(self, values: Values) -> bool:
        if values["artifact_id"] not in self._artifacts:
            return False
        if values["value"] != TagValue.RELEASED or self.keep_releases:
            return True
        # Nobody here has approved it: an export says what whoever wrote it wants it to say.
        self.unreleased += 1
        values["value"] = TagValue.CANDIDATE
        return values["artifact_id"] not in self._candidates

    @cached_property
    def _candidates(self) -> set[str]:
        rows = self.export.rows("artifact_tags")
        return {self.ids.of(it["artifact_id"]) for it in rows if it["value"] == TagValue.CANDIDATE}

    def _evaluation_results(self, values: Values) -> bool:
        checkpoint = values["checkpoint_id"]  # in the trash it is not exported
        is_known = checkpoint is None or checkpoint in self._artifacts
        return values["artifact_id"] in self._artifacts and is_known

    def _registered_models(self, values: Values) -> None:
        name, number = values["name"], 1
        while RegisteredModel.objects.filter(name=values["name"]).exists():
            number += 1
            values["name"] = f"{name}-{number}"
        if values["name"] != name:
            text = _("There is a registered model %(name)s here: the imported one is %(other)s.")
            self.notes.append(text % {"name": name, "other": values["name"]})
        values.update(created_by_id=self._owner_id, team_id=self._team_id)

    def _model_versions(self, values: Values) -> None:
        for key in ("source", "location"):
            values[key] = self.ids.in_text(values[key])
        if values["checkpoint_id"] not in self._artifacts:
            values["checkpoint_id"] = None

    def _model_aliases(self, values: Values) -> None:
        values["version_id"] = self.versions[values["version_id"]]

    def _sweeps(self, values: Values) -> None:
        values["recipe_id"] = self._recipe(values["recipe_id"])
        end_sweep(values, self._ended_at)

    def _sweep_trials(self, values: Values) -> None:
        end_trial(values, self._ended_at)

    def _release_policy(self, values: Values) -> None:
        for gate in values["gates_json"]:
            checked_gate(gate)

    def _release_requests(self, values: Values) -> None:
        """Who decided is told by name, as the export says; it was nobody who did so here."""
        values.update(asked_by_id=None, decided_by_id=None)
        values["checkpoint_key"] = self.ids.of(values["checkpoint_key"])
        if values["checkpoint_id"] not in self._artifacts:
            values["checkpoint_id"] = None
        end_request(values, self._ended_at)

    def _evaluation_rules(self, values: Values) -> None:
        """From now on: it has not counted the checkpoints that come in."""
        for key in ("recipe_id", "of_recipe_id"):
            values[key] = self._recipe(values[key])


def _may_lead_elsewhere(table: Table, column: Field[Any, Any]) -> bool:
    """Whether it is to be looked at. ``_runs`` has looked at the checkpoint that a run has resumed
    from, which may be of another project."""
    if (table.name, column.name) == ("project_versions", "id"):
        return True
    refers = isinstance(column, ForeignKey) and column.related_model in IDENTIFIED.values()
    return refers and column.name != "resumed_from"
