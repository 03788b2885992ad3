"""Metric series, their points, and the buckets that pre-aggregate them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.text import MAX_KEY_LENGTH
from runs.models import Run, RunColumn


class MetricSeries(models.Model):
    """One metric of one run and its summary, updated as points are stored (metrics/recording.py).

    ``minimum`` and ``maximum`` ignore NaN; they are None while every value is NaN.
    The last point is the one with the greatest (step, timestamp, value).
    """

    id = models.BigAutoField(primary_key=True)
    # No index of its own: that of (run, key) begins with it, and to look up a key, the planner
    # might take the shorter one and read every series of the run.
    run = models.ForeignKey(Run, models.CASCADE, related_name="series", db_index=False)
    key = models.CharField(_("key"), max_length=MAX_KEY_LENGTH, db_collation="C")
    count = models.BigIntegerField(_("points"), default=0, db_default=0)
    minimum = models.FloatField(_("minimum"), null=True)
    maximum = models.FloatField(_("maximum"), null=True)
    last_step = models.BigIntegerField(_("last step"), null=True)
    last_timestamp_ms = models.BigIntegerField(null=True)
    last_value = models.FloatField(_("last value"), null=True)
    # The points of the steps below ``bucketed_below``, ``bucketed_count`` of them, are also in
    # buckets of 2 ** bucket_shift steps. None while the series is short and read from its points.
    bucket_shift = models.SmallIntegerField(null=True)
    bucketed_below = models.BigIntegerField(null=True)
    bucketed_count = models.BigIntegerField(default=0, db_default=0)
    # Its last step when the run's current attempt began: up to there, earlier attempts may have
    # reported the same steps. None if they left no points; NO_STEPS of point_queries.py if all of
    # theirs are at step 0.
    rewound_to = models.BigIntegerField(null=True, editable=False)

    class Meta:
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")
        constraints = (models.UniqueConstraint(name="metricseries_run_key", fields=["run", "key"]),)
        indexes = (
            # For searching and sorting runs by a metric. Not the value: every point changes it.
            models.Index(fields=["key", "run"], name="metricseries_key"),
        )

    def __str__(self) -> str:
        return f"{self.run_id} {self.key}"


class MetricPoint(models.Model):
    """A value at a step and a time. The whole row is the key, so storing a point is idempotent.

    ``timestamp_ms``: Unix time in milliseconds, as in MLflow's protocol. ``value``: a double; NaN
    and infinities are ordinary values (PostgreSQL's NaN equals itself).
    """

    pk = models.CompositePrimaryKey("series_id", "step", "timestamp_ms", "value")
    # No database constraint: checking it would cost more than inserting the row.
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


class ReplayedPoint(models.Model):
    """A point that the run's current attempt has reported at a step up to its series'
    ``rewound_to``, and which is stored, or was ignored because it repeats an earlier attempt's.
    """

    pk = models.CompositePrimaryKey("series_id", "step", "timestamp_ms", "value")
    series = models.ForeignKey(
        MetricSeries, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    step = models.BigIntegerField()
    timestamp_ms = models.BigIntegerField()
    value = models.FloatField()

    class Meta:
        verbose_name = _("replayed point")
        verbose_name_plural = _("replayed points")

    def __str__(self) -> str:
        return f"{self.series_id} {self.step}: {self.value}"


class MetricBucket(models.Model):
    """Consecutive points of a series, pre-aggregated (metrics/buckets.py).

    Aggregates the points whose ``step >> shift`` is ``number``. A series has buckets of four sizes,
    with its ``bucket_shift`` and 3, 6 and 9 more; every point below its ``bucketed_below`` is in
    one of each size. ``minimum`` and ``maximum`` ignore NaN and are None, like their steps, if
    every value is NaN. First and last are by (step, timestamp, value).
    """

    pk = models.CompositePrimaryKey("series_id", "shift", "number")
    series = models.ForeignKey(
        MetricSeries, models.CASCADE, related_name="buckets", db_constraint=False, db_index=False
    )
    shift = models.SmallIntegerField()
    number = models.BigIntegerField()
    count = models.BigIntegerField()
    minimum = models.FloatField(null=True)
    minimum_step = models.BigIntegerField(null=True)
    maximum = models.FloatField(null=True)
    maximum_step = models.BigIntegerField(null=True)
    first_step = models.BigIntegerField()
    first_timestamp_ms = models.BigIntegerField()
    first_value = models.FloatField()
    last_step = models.BigIntegerField()
    last_timestamp_ms = models.BigIntegerField()
    last_value = models.FloatField()

    class Meta:
        verbose_name = _("metric bucket")
        verbose_name_plural = _("metric buckets")

    def __str__(self) -> str:
        return f"{self.series_id} {self.first_step}-{self.last_step}"


class MetricValue(models.Model):
    """The summary of a metric of an indexed run, by value: see metrics/run_index.py.

    Copied from its series when the run has ended. MetricSeries has no such indexes, because every
    point would change them.
    """

    pk = models.CompositePrimaryKey("run_id", "column_id")
    run = models.ForeignKey(Run, models.CASCADE, related_name="metric_values", db_index=False)
    column = models.ForeignKey(
        RunColumn, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    last = models.FloatField()
    minimum = models.FloatField(null=True)
    maximum = models.FloatField(null=True)

    class Meta:
        verbose_name = _("value of a metric")
        verbose_name_plural = _("values of metrics")
        indexes = (
            # To filter and sort runs by it.
            models.Index(fields=["column", "last", "run"], name="metricvalue_last"),
            models.Index(fields=["column", "minimum", "run"], name="metricvalue_minimum"),
            models.Index(fields=["column", "maximum", "run"], name="metricvalue_maximum"),
        )

    def __str__(self) -> str:
        return f"{self.run_id} {self.column_id}: {self.last}"
