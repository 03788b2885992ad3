"""The options that a recipe may have for Ray. Pure checks, no database."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from django.utils.translation import gettext as _

from core.exceptions import InvalidInput

# Of Ray's runtime environments; working_dir and py_modules are TrainHub's own.
RUNTIME_ENV: Final = frozenset(
    {"pip", "uv", "conda", "env_vars", "image_uri", "container", "py_executable", "config"}
)
_RESERVED: Final = frozenset({"CPU", "GPU", "memory", "object_store_memory"})
_NAME: Final = re.compile(r"[A-Za-z_][\w.\-/]{0,199}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


def check(options: dict[str, Any]) -> None:
    """Raises InvalidInput."""
    for name, value in options.items():
        if not isinstance(value, dict):
            raise InvalidInput(_("The option %(name)s must be an object.") % {"name": name})
    _check_runtime_env(options.get("runtime_env", {}))
    _check_resources(options.get("resources", {}))
    _check_labels(options.get("labels", {}))


def _check_runtime_env(runtime_env: dict[str, Any]) -> None:
    unknown = sorted(set(runtime_env) - RUNTIME_ENV)
    if unknown:
        raise InvalidInput(
            _("runtime_env cannot have %(unknown)s; it may have: %(known)s.")
            % {"unknown": ", ".join(unknown), "known": ", ".join(sorted(RUNTIME_ENV))}
        )
    variables = runtime_env.get("env_vars", {})
    is_plain = isinstance(variables, dict) and all(
        _VARIABLE.fullmatch(name) and isinstance(text, str) and "\x00" not in text
        for name, text in variables.items()
    )
    if not is_plain:
        raise InvalidInput(_("env_vars are names of variables and texts."))


def _check_resources(resources: dict[str, Any]) -> None:
    for name, amount in resources.items():
        is_amount = (
            isinstance(amount, (int, float))
            and not isinstance(amount, bool)
            and math.isfinite(amount)
            and amount > 0
        )
        if not _NAME.fullmatch(name) or name in _RESERVED or not is_amount:
            raise InvalidInput(
                _(
                    "resources are names of the cluster's own resources and amounts above 0, "
                    "for each node; CPUs, GPUs and memory have fields of their own."
                )
            )


def _check_labels(labels: dict[str, Any]) -> None:
    if not all(_NAME.fullmatch(name) and isinstance(text, str) for name, text in labels.items()):
        raise InvalidInput(_("labels are names of labels and what they have to be."))
