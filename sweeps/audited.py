"""What the audit tells of sweeps."""

from core.audited import Audited, declare
from sweeps.models import Sweep

declare(
    Audited(
        model=Sweep,
        kind="sweep",
        columns=[
            "name",
            "status",
            "recipe_id",
            "configuration",
            "search_space",
            "method",
            "metric",
            "goal",
            "pruning",
            "max_trials",
            "max_parallel",
        ],
        changing=["name", "status", "max_trials", "max_parallel"],
        name="{row}.name",
        project="{row}.project_id",
        actions={"status": ("status_changed",)},
    ),
)
