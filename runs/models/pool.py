"""GPU pools: how many GPUs of each type there are."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class GpuPool(models.Model):
    """How many GPUs of a type there are; the GPUs that runs use count against it.

    A type without a pool has no limit: TrainHub does not know how many GPUs there are.
    """

    gpu_type = models.CharField(_("GPU type"), max_length=64, primary_key=True)
    capacity = models.PositiveIntegerField(_("GPUs"))

    class Meta:
        verbose_name = _("GPU pool")
        verbose_name_plural = _("GPU pools")
        ordering = ("gpu_type",)

    def __str__(self) -> str:
        return f"{self.gpu_type} × {self.capacity}"
