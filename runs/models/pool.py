from django.db import models
from django.utils.translation import gettext_lazy as _


class GpuPool(models.Model):
    """How many GPUs of a type there are; what runs ask for is counted against it.

    A type without a pool is not counted: TrainHub does not know how many there are.
    """

    gpu_type = models.CharField(_("GPU type"), max_length=64, primary_key=True)
    capacity = models.PositiveIntegerField(_("GPUs"))

    class Meta:
        verbose_name = _("GPU pool")
        verbose_name_plural = _("GPU pools")
        ordering = ("gpu_type",)

    def __str__(self) -> str:
        return f"{self.gpu_type} × {self.capacity}"
