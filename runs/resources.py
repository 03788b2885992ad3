"""What a run asks for: GPUs of a type, nodes, time. Pure checks, no database."""

from __future__ import annotations

import re
from typing import Any, Final

from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from runs import ray_options

MAX_NODES: Final = 10_000
MIN_TIME_LIMIT_SECONDS: Final = 60  # Slurm counts minutes
MAX_TIME_LIMIT_SECONDS: Final = 366 * 86_400

SLURM: Final = "slurm"
RAY: Final = "ray"
# Executors whose trainings may work on several nodes.
ON_NODES: Final = frozenset({SLURM, RAY})
# Executor -> the names that Recipe.engine_options may have for it.
ENGINE_OPTIONS: Final[dict[str, frozenset[str]]] = {
    SLURM: frozenset(
        {"partition", "account", "qos", "constraint", "reservation", "exclude", "nodelist"}
        | {"gres_type"}
    ),
    RAY: frozenset({"runtime_env", "resources", "labels"}),
}
_VALUE: Final = re.compile(r"[^\s\x00-\x1f\x7f-][^\s\x00-\x1f\x7f]{0,499}")


def check_nodes(executor: str, nodes: int, gpu_count: int) -> None:
    """Raises InvalidInput."""
    if nodes == 1:
        return
    if executor not in ON_NODES:
        raise InvalidInput(
            _("The executor %(executor)s runs on one node: nodes must be 1.")
            % {"executor": executor},
            attr="nodes",
        )
    if gpu_count % nodes:
        raise InvalidInput(
            _(
                "%(gpus)d GPUs cannot be divided evenly among %(nodes)d nodes: gpu_count is the "
                "number of all of them."
            )
            % {"gpus": gpu_count, "nodes": nodes},
            attr="gpu_count",
        )


def check_engine_options(executor: str, options: Any) -> None:
    """Raises InvalidInput."""
    if not isinstance(options, dict):
        raise InvalidInput(_("Engine options are an object of names and texts."))
    known = ENGINE_OPTIONS.get(executor, frozenset())
    unknown = sorted(set(options) - known)
    if unknown:
        raise InvalidInput(
            _("The executor %(executor)s has no options %(unknown)s; it has: %(known)s.")
            % {
                "executor": executor,
                "unknown": ", ".join(unknown),
                "known": ", ".join(sorted(known)) or "–",
            }
        )
    if executor == RAY:
        ray_options.check(options)
        return
    for name, value in options.items():
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise InvalidInput(
                _("The option %(name)s must be a text without spaces that does not begin with -.")
                % {"name": name}
            )
