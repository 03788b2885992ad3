"""The datasets and models that a run read or produced."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.json_field import JSONField


class DatasetInput(models.Model):
    """A dataset that a run read, stored once per name and digest.

    ``source``, ``schema`` and ``profile`` are free-form texts from the training.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="dataset_inputs")
    name = models.CharField(_("name"), max_length=500)
    digest = models.CharField(_("digest"), max_length=36)
    source_type = models.CharField(_("source type"), max_length=36, blank=True)
    source = models.TextField(_("source"), blank=True)
    schema = models.TextField(_("schema"), blank=True)
    profile = models.TextField(_("profile"), blank=True)
    # Key -> text, e.g. what the dataset was used for.
    tags = JSONField(_("tags"), default=dict, blank=True)

    class Meta:
        verbose_name = _("dataset")
        verbose_name_plural = _("datasets")
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(name="datasetinput_once", fields=["run", "name", "digest"]),
        )

    def __str__(self) -> str:
        return self.name


class ModelLink(models.Model):
    """A model that a run read (input) or produced (output), with the ID its client uses."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="model_links")
    model_id = models.CharField(_("model"), max_length=64)
    is_output = models.BooleanField(_("output of the run"))
    step = models.BigIntegerField(_("step"), default=0)

    class Meta:
        verbose_name = _("model of a run")
        verbose_name_plural = _("models of runs")
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                name="modellink_once", fields=["run", "model_id", "is_output", "step"]
            ),
        )

    def __str__(self) -> str:
        return self.model_id
