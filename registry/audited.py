"""What the audit tells of registered models, and of logged models that are deleted."""

from core.audited import Audited, declare
from registry.logged_models import LoggedModel
from registry.models import ModelAlias, ModelVersion, RegisteredModel

MODEL = "(SELECT name FROM registry_registeredmodel WHERE id = {row}.model_id)"
TEAM = "(SELECT team_id FROM registry_registeredmodel WHERE id = {row}.model_id)"
VERSION = "(SELECT {column} FROM registry_modelversion WHERE id = {{row}}.version_id)"

declare(
    Audited(
        model=RegisteredModel,
        kind="registered_model",
        columns=["name", "description", "tags", "team_id"],
        name="{row}.name",
        team="{row}.team_id",
        actions={"name": ("renamed",), "team_id": ("team_changed", "team_changed")},
    ),
    Audited(
        model=ModelVersion,
        kind="model_version",
        columns=["number", "stage", "description", "tags", "source", "run_id", "checkpoint_id"],
        subject="{row}.model_id",
        name=f"{MODEL} || ' ' || {{row}}.number",
        project="{row}.project_id",
        team=TEAM,
        actions={"stage": ("stage_changed", "stage_changed")},
    ),
    Audited(
        model=ModelAlias,
        kind="model_alias",
        columns=["alias", "version_id"],
        subject="{row}.model_id",
        name=f"{MODEL} || '@' || {{row}}.alias",
        project=VERSION.format(column="project_id"),
        team=TEAM,
        actions={"version_id": ("moved",)},
    ),
    Audited(
        model=LoggedModel,
        kind="logged_model",
        columns=["name", "model_type"],
        changing=["name", "deleted_at"],
        name="{row}.name",
        project="{row}.project_id",
        actions={"deleted_at": ("deleted", "restored")},
        operations=("UPDATE", "DELETE"),
    ),
)
