"""GPU pools: how many GPUs of each type there are, and which executor's runs use them."""

from __future__ import annotations

from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from core.exceptions import InvalidInput
from runs.models.recipe import ExecutorName

MAX_CAPACITY = 1_000_000
MAX_NAME: Final = 64
SEPARATOR: Final = ", "  # of names in a sentence
NAMES = RegexValidator(r"\A[\w.\- ]*\Z")


class GpuPoolQuerySet(models.QuerySet["GpuPool"]):
    def of_executor(self, executor: str, cluster: str = "") -> GpuPoolQuerySet:
        """The pools that runs of the executor use: its own, and those of no executor.

        ``cluster``: the part of the executor's cluster that a recipe names, such as a partition.
        """
        found = self.filter(executor__in=[executor, ""])
        return found.filter(cluster__in=[cluster, ""]) if cluster else found

    def for_run(
        self,
        executor: str,
        gpu_type: str,
        gpu_count: int,
        cluster: str = "",
        *,
        own: bool = False,
    ) -> GpuPool | None:
        """The pool that a run counts against; None for a run without GPUs, and where there is no
        pool: then nobody counts. ``own``: only pools of the executor itself. Raises InvalidInput if
        there are pools, but none of this type."""
        if gpu_count == 0:
            return None
        # One of its own first.
        found = self.of_executor(executor, cluster)
        found = found.filter(executor=executor) if own else found
        pools = list(found.order_by("-executor", "-cluster", "name"))
        if not gpu_type:
            return _only(pools)
        for pool in pools:
            if pool.gpu_type == gpu_type:
                return pool
        for pool in pools:
            if pool.gpu_type.casefold() == gpu_type.casefold():
                return pool
        if len(models := _models(pools, gpu_type)) == 1:  # the drivers' names are long
            return models[0]
        types = sorted({pool.gpu_type for pool in pools})
        if not types:
            return None
        text = _t("There are no %(type)s GPUs. There are: %(types)s.")
        raise InvalidInput(
            text % {"type": gpu_type, "types": SEPARATOR.join(types)}, attr="resources.gpu_type"
        )


def _models(pools: list[GpuPool], gpu_type: str) -> list[GpuPool]:
    """Those of a type that begins so: A100-SXM4-80GB, of A100."""
    beginnings = (f"{gpu_type}-".casefold(), f"{gpu_type} ".casefold())
    return [pool for pool in pools if pool.gpu_type.casefold().startswith(beginnings)]


def _only(pools: list[GpuPool]) -> GpuPool | None:
    """The pool of a run that names no type. Raises InvalidInput if there are several types."""
    types = sorted({pool.gpu_type for pool in pools})
    if len(types) > 1:
        text = _t("Specify the GPU type. There are: %(types)s.")
        raise InvalidInput(text % {"types": SEPARATOR.join(types)}, attr="resources.gpu_type")
    return pools[0] if pools else None


class GpuPool(models.Model):
    """GPUs of a type; those that runs use count against its capacity."""

    name = models.CharField(_("name"), max_length=MAX_NAME, primary_key=True, validators=[NAMES])
    gpu_type = models.CharField(_("GPU type"), max_length=64, validators=[NAMES])
    capacity = models.PositiveIntegerField(_("GPUs"), validators=[MaxValueValidator(MAX_CAPACITY)])
    executor = models.CharField(
        _("executor"),
        max_length=16,
        choices=ExecutorName,
        blank=True,
        help_text=_("Whose runs use it; empty: those of every executor without a pool of its own."),
    )
    cluster = models.CharField(
        _("cluster"),
        max_length=200,
        blank=True,
        help_text=_("The part of the executor's cluster that it is, such as a Slurm partition."),
    )
    hosts = ArrayField(
        models.CharField(max_length=255),
        verbose_name=_("hosts"),
        default=list,
        blank=True,
        help_text=_("Only workers on these hosts execute its runs; empty: all."),
    )
    reserve = models.PositiveIntegerField(
        _("GPUs kept for evaluations"),
        default=0,
        help_text=_(
            "Of its GPUs, as many as only runs of recipes of the kind evaluation use, so that they "
            "start beside large trainings."
        ),
    )
    # In whatever currency; None: not known, and nothing is said of costs.
    price_per_gpu_hour = models.DecimalField(
        _("price per GPU-hour"),
        max_digits=12,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
    )
    # Found by a worker, which keeps the capacity up to date; a pool that people set stays as it is.
    is_discovered = models.BooleanField(_("discovered"), default=False, editable=False)

    objects = GpuPoolQuerySet.as_manager()

    class Meta:
        verbose_name = _("GPU pool")
        verbose_name_plural = _("GPU pools")
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(
                name="gpupool_one_of_a_type",
                fields=["gpu_type", "executor", "cluster"],
                violation_error_message=_("There is a pool of this type already."),
            ),
            models.CheckConstraint(
                name="gpupool_reserve_within_capacity",
                condition=Q(reserve__lte=models.F("capacity")),
                violation_error_message=_("More GPUs are kept for evaluations than there are."),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} × {self.capacity}"

    def clean(self) -> None:
        self.gpu_type = self.gpu_type or self.name

    def rediscover(self, capacity: int) -> None:
        """Set how many workers find, unless people have set it meanwhile."""
        GpuPool.objects.filter(pk=self.pk, is_discovered=True).update(
            capacity=capacity, reserve=min(self.reserve, capacity)
        )

    def resize(self, capacity: int) -> None:
        """Set how many there are. Runs that hold more than that go on."""
        reserve = min(self.reserve, capacity)
        GpuPool.objects.filter(pk=self.pk).update(
            capacity=capacity, reserve=reserve, is_discovered=False
        )
        self.capacity, self.reserve, self.is_discovered = capacity, reserve, False
