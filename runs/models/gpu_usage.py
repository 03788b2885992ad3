"""GPU time that runs have used, by day: what fair share and quotas count."""

from __future__ import annotations

from typing import Final

from django.db import models

from core.database import Statement


class GpuUsage(models.Model):
    """GPU-seconds of holds that are over, of a project's runs in a pool on a day (UTC).

    A hold is counted when it ends, each of its days for itself.
    """

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey("projects.Project", models.CASCADE, related_name="+")
    pool = models.CharField(max_length=64, blank=True)
    day = models.DateField()
    gpu_seconds = models.FloatField(default=0.0)

    class Meta:
        constraints = (
            # By day first: readers ask for the days since a date.
            models.UniqueConstraint(name="gpuusage_one_a_day", fields=["day", "project", "pool"]),
        )

    def __str__(self) -> str:
        return f"{self.project_id} {self.day} {self.pool}"


# In the order of the days, so that two transactions lock the rows in the same order.
COUNT_HOLD: Final = Statement(
    """
INSERT INTO runs_gpuusage (project_id, pool, day, gpu_seconds)
SELECT run.project_id, run.pool, day::date, run.gpu_count * extract(
    epoch FROM least(ended, day + interval '1 day') - greatest(hold.began, day)
)
FROM runs_run AS run,
    LATERAL (SELECT statement_timestamp() AT TIME ZONE 'UTC' AS ended,
        run.held_since AT TIME ZONE 'UTC' AS began) AS hold,
    generate_series(date_trunc('day', hold.began), ended, interval '1 day') AS day
WHERE run.id = %(run_id)s::text AND run.gpu_count > 0 AND ended > hold.began
ORDER BY day
ON CONFLICT (day, project_id, pool)
DO UPDATE SET gpu_seconds = runs_gpuusage.gpu_seconds + excluded.gpu_seconds
"""
)


def count_hold(run_id: str) -> None:
    """Add the GPU time of a hold that ends now. Call with the run's row locked, before
    ``held_since`` changes."""
    COUNT_HOLD.run(run_id=run_id)
