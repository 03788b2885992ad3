"""The GPU types that a form offers: those of the pools, each with the executors that reach it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from runs.executors import executors
from runs.models import GpuPool

ANY = _("any, or that of the recipe")


def offered_types() -> dict[str, list[str]]:
    """GPU type -> names of the executors whose runs find a pool of it."""
    pools = list(GpuPool.objects.values_list("gpu_type", "executor"))
    found: dict[str, list[str]] = defaultdict(list)
    for gpu_type in sorted({gpu_type for gpu_type, _executor in pools}):
        of_type = {executor for name, executor in pools if name == gpu_type}
        for name, executor in executors().items():
            reached = {name} if executor.has_queue else {name, ""}  # as actions.pool_of
            if of_type & reached:
                found[gpu_type].append(name)
    return dict(found)


class GpuTypeSelect(forms.Select):
    """Each option says which executors it is for; static/js/run-form.js shows those of the chosen
    recipe. Without JavaScript all are shown, and the wrong ones are refused."""

    def __init__(self, types: dict[str, list[str]], empty: Any = ANY) -> None:
        super().__init__(choices=[("", empty), *((name, name) for name in types)])
        self._types = types

    def offer(self, value: str) -> None:
        """Also a type that no pool has any more: the form says so when it is sent."""
        if value and value not in self._types:
            self.choices = [*self.choices, (value, value)]

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)
        if value in self._types:
            option["attrs"]["data-executors"] = " ".join(self._types[value])
        return option
