"""What the audit tells of registered models, and of logged models that are deleted."""

from core.audited import Audited, declare
from registry.checkpoint_policy import CheckpointPolicy
from registry.evaluation_rules import EvaluationRule
from registry.logged_models import LoggedModel
from registry.models import ModelAlias, ModelVersion, RegisteredModel
from registry.release_policy import ReleasePolicy
from registry.release_requests import ReleaseRequest

MODEL = "(SELECT name FROM registry_registeredmodel WHERE id = {row}.model_id)"
TEAM = "(SELECT team_id FROM registry_registeredmodel WHERE id = {row}.model_id)"
VERSION = "(SELECT {column} FROM registry_modelversion WHERE id = {{row}}.version_id)"

declare(
    Audited(
        model=ReleasePolicy,
        kind="release_policy",
        columns=["needs_approval", "gates_json"],
        subject="{row}.project_id",
        project="{row}.project_id",
    ),
    Audited(
        model=CheckpointPolicy,
        kind="checkpoint_policy",
        columns=["metric", "mode", "best", "last", "every"],
        subject="{row}.project_id",
        project="{row}.project_id",
    ),
    Audited(
        model=ReleaseRequest,
        kind="release_request",
        columns=["checkpoint_key", "state", "notes", "decision_notes"],
        name="{row}.checkpoint_key",
        project="{row}.project_id",
        actions={"state": ("decided",)},
    ),
    Audited(
        model=EvaluationRule,
        kind="evaluation_rule",
        columns=["recipe_id", "hyperparameters", "dataset", "every", "of_recipe_id", "run_name"],
        project="{row}.project_id",
    ),
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
