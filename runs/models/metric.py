from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class MetricSeries(models.Model):
    """One metric of one run and its summary, kept as points come in (runs/ingestion.py).

    ``minimum``, ``maximum`` leave NaN out; they are None while every value was NaN.
    The last point is the one of the greatest (step, timestamp, value).
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="series")
    key = models.CharField(_("key"), max_length=250, db_collation="C")
    count = models.BigIntegerField(_("points"), default=0)
    minimum = models.FloatField(_("minimum"), null=True)
    maximum = models.FloatField(_("maximum"), null=True)
    last_step = models.BigIntegerField(_("last step"), null=True)
    last_timestamp_ms = models.BigIntegerField(null=True)
    last_value = models.FloatField(_("last value"), null=True)

    class Meta:
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")
        constraints = (models.UniqueConstraint(name="metricseries_run_key", fields=["run", "key"]),)

    def __str__(self) -> str:
        return f"{self.run_id} {self.key}"


class MetricPoint(models.Model):
    """A value at a step and a time. The whole row is its identity: sent twice, it is there once.

    ``timestamp_ms``: Unix time in milliseconds, as the field's protocols carry it. ``value``: a
    double; NaN and the infinities are values like any other (PostgreSQL's NaN equals itself).
    """

    pk = models.CompositePrimaryKey("series_id", "step", "timestamp_ms", "value")
    # No constraint in the database: checking it would cost more than writing the row.
    series = models.ForeignKey(
        MetricSeries, models.CASCADE, related_name="points", db_constraint=False, db_index=False
    )
    step = models.BigIntegerField()
    timestamp_ms = models.BigIntegerField()
    value = models.FloatField()

    class Meta:
        verbose_name = _("metric point")
        verbose_name_plural = _("metric points")

    def __str__(self) -> str:
        return f"{self.series_id} {self.step}: {self.value}"
