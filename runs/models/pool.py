"""GPU pools: how many GPUs of each type there are."""

from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

MAX_CAPACITY = 1_000_000


class GpuPool(models.Model):
    """How many GPUs of a type there are; the GPUs that runs use count against it.

    A type without a pool has no limit: TrainHub does not know how many GPUs there are.
    """

    gpu_type = models.CharField(
        _("GPU type"),
        max_length=64,
        primary_key=True,
        validators=[RegexValidator(r"\A[\w.\- ]*\Z")],
    )
    capacity = models.PositiveIntegerField(_("GPUs"), validators=[MaxValueValidator(MAX_CAPACITY)])

    class Meta:
        verbose_name = _("GPU pool")
        verbose_name_plural = _("GPU pools")
        ordering = ("gpu_type",)

    def __str__(self) -> str:
        return f"{self.gpu_type} × {self.capacity}"

    def resize(self, capacity: int) -> None:
        """Set how many there are. Runs that hold more than that go on."""
        GpuPool.objects.filter(pk=self.pk).update(capacity=capacity)
        self.capacity = capacity
