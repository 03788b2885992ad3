"""What the audit tells of runs, and of what operators set up for them."""

from core.audited import EVERY_KEY, Audited, declare
from runs.models import GpuPool, Quota, Recipe, Run, Worker


def _columns(model: type[Recipe | GpuPool | Quota]) -> list[str]:
    return [field.column or field.name for field in model._meta.concrete_fields]


declare(
    Audited(
        model=Run,
        kind="run",
        columns=[
            "name",
            "status",
            "recipe_id",
            "model",
            "dataset",
            "hyperparameters",
            "gpu_type",
            "gpu_count",
            "nodes",
            "priority",
            "preemptible",
            "time_limit_seconds",
            "resumed_from_id",
            "tags",
        ],
        # None that a report of points or lines sets: see docs/adr/0037-audit-by-triggers.md.
        changing=[
            "name",
            "status",
            "stop_kind",
            "priority",
            "tags",
            "deleted_at",
            "archived_at",
        ],
        name="{row}.name",
        project="{row}.project_id",
        actions={
            "deleted_at": ("trashed", "restored"),
            "archived_at": ("archived", "unarchived"),
            "status": ("status_changed",),
            "stop_kind": ("stop_requested", "stop_withdrawn"),
            "priority": ("priority_changed",),
            "name": ("renamed",),
            "tags": ("tags_changed",),
        },
    ),
    Audited(
        model=Recipe,
        kind="recipe",
        columns=_columns(Recipe),
        subject="{row}.name",
        name="{row}.name",
        masked={
            "environment": EVERY_KEY,
            "encrypted_environment": EVERY_KEY,
            "engine_options": ["runtime_env"],
        },
        actions={"enabled": ("enabled", "disabled")},
    ),
    Audited(
        model=GpuPool,
        kind="pool",
        columns=_columns(GpuPool),
        subject="{row}.name",
        name="{row}.name",
        actions={"capacity": ("resized",)},
    ),
    Audited(
        model=Quota,
        kind="quota",
        columns=_columns(Quota),
        name="coalesce({row}.pool_id, '')",
        project="{row}.project_id",
    ),
    Audited(
        model=Worker,
        kind="worker",
        columns=["name", "host", "draining"],
        changing=["draining"],
        name="{row}.name",
        only_by_users=True,
        actions={"draining": ("drained", "undrained")},
        operations=("UPDATE", "DELETE"),
    ),
)
