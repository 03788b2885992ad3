"""The columns of a project's list of runs: which hyperparameters and metrics there are, and the
hyperparameters of runs that have ended, by value."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.text import MAX_KEY_LENGTH


class ColumnKind(models.TextChoices):
    PARAM = "param", _("hyperparameter")
    METRIC = "metric", _("metric")


class RunColumn(models.Model):
    """A hyperparameter or a metric that a run of the project had when it was indexed
    (metrics/run_index.py). It stays when no run has it any more."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(
        "projects.Project", models.CASCADE, related_name="run_columns", db_index=False
    )
    kind = models.CharField(max_length=8, choices=ColumnKind)
    key = models.CharField(_("key"), max_length=MAX_KEY_LENGTH, db_collation="C")

    class Meta:
        verbose_name = _("column of runs")
        verbose_name_plural = _("columns of runs")
        constraints = (
            models.UniqueConstraint(name="runcolumn_once", fields=["project", "kind", "key"]),
        )

    def __str__(self) -> str:
        return f"{self.project_id} {self.kind} {self.key}"


class ParamValue(models.Model):
    """A hyperparameter of an indexed run.

    ``number``: the number that its value is or, as a text, denotes; None if it denotes none.
    ``text``: the value as text, at most MAX_TEXT characters of it (runs/param_values.py).
    ``is_text``: whether the value is a text and no JSON number, boolean, list or object.
    """

    pk = models.CompositePrimaryKey("run_id", "column_id")
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="param_values", db_index=False)
    # No database constraint: checking it would cost more than inserting the row.
    column = models.ForeignKey(
        RunColumn, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    number = models.FloatField(null=True)
    text = models.TextField(db_collation="C")
    is_text = models.BooleanField()

    class Meta:
        verbose_name = _("value of a hyperparameter")
        verbose_name_plural = _("values of hyperparameters")
        indexes = (
            # To filter, sort and group runs by it. A value is in one of the two.
            models.Index(
                fields=["column", "number", "run"],
                name="paramvalue_number",
                include=["text", "is_text"],
                condition=models.Q(number__isnull=False),
            ),
            models.Index(
                fields=["column", "text", "run"],
                name="paramvalue_text",
                include=["is_text"],
                condition=models.Q(number=None),
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id} {self.column_id}: {self.text}"
