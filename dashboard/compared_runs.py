"""The runs of a comparison: found by their ids, and what each says of itself, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Q
from django.utils.translation import gettext as _

from artifacts.models import Artifact
from core.ids import ID_PATTERN
from dashboard.comparison.address import MAX_RUNS
from dashboard.comparison.values import flattened
from runs.held_time import elapsed, gpu_hours
from runs.models import DatasetInput, Run, RunCode
from runs.status import RunStatus

FOUND_RUNS: Final = 20  # of a search
NAMED_IDS: Final = 5  # in a message about ids that are not shown
SHOWN_ID: Final = 64  # characters of such an id
SHOWN_HASH: Final = 12  # characters of a hash
MAX_NAME: Final = 200  # characters that a search takes

_ID: Final = re.compile(ID_PATTERN)
# Tags of MLflow's clients that say which code ran. A diff is as long as the change.
_CODE_TAGS: Final = ("mlflow.source.", "mlflow.git.", "mlflow.project.", "mlflow.docker.")
_DIFF: Final = "mlflow.git.diff"
_VERSION: Final = re.compile(r"(?:\A|[._/-])version\Z", re.IGNORECASE)
# num_input_tokens_seen, train/tokens, total_tokens; not tokens_per_second.
_TOKENS: Final = re.compile(
    r"(?:\A|[/_.-])tokens(?:_(?:seen|total|processed|consumed))?\Z", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs to compare, in the order in which they were asked for, and why others are missing.

    ``problems`` are sentences in the reader's language.
    """

    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def place_of(self, run_id: str) -> int:
        """The place of that run; of the first one if it is not among them."""
        places = (place for place, run in enumerate(self.runs) if run.pk == run_id)
        return next(places, 0)


def select(user: AbstractBaseUser | AnonymousUser, ids: Sequence[str]) -> Selection:
    """The runs of the first MAX_RUNS ``ids`` that ``user`` may see and that are not in the trash.
    One query."""
    wanted = ids[:MAX_RUNS]
    valid = [text for text in wanted if _ID.fullmatch(text)]
    visible = Run.objects.visible_to(user).listed().filter(pk__in=valid)
    visible = visible.select_related("project", "recipe", "created_by")
    found = {run.pk: run for run in visible.defer("executor_state", "requested_hyperparameters")}
    kept = [found[text] for text in wanted if text in found and found[text].deleted_at is None]
    trashed = [found[text] for text in wanted if text in found and found[text].deleted_at]
    unknown = [text for text in wanted if text not in found]
    problems = [
        *(
            _("%(name)s (%(id)s) is in the trash and is not shown.")
            % {"name": run.name, "id": run.pk}
            for run in trashed
        ),
        *_unknown(unknown),
        *_too_many(ids[MAX_RUNS:]),
    ]
    return Selection(kept, problems)


def _unknown(ids: Sequence[str]) -> list[str]:
    return [_("Not found: %(ids)s.") % {"ids": _listed(ids)}] if ids else []


def _too_many(ids: Sequence[str]) -> list[str]:
    if not ids:
        return []
    text = _("At most %(limit)d runs can be compared. Not shown: %(ids)s.")
    return [text % {"limit": MAX_RUNS, "ids": _listed(ids)}]


def _listed(ids: Sequence[str]) -> str:
    named = [text if len(text) <= SHOWN_ID else f"{text[:SHOWN_ID]}…" for text in ids[:NAMED_IDS]]
    return ", ".join([*named, *(["…"] if len(ids) > NAMED_IDS else [])])


def search(
    user: AbstractBaseUser | AnonymousUser, text: str, *, without: Iterable[str]
) -> list[Run]:
    """The newest runs whose name, id or project has ``text``; without those compared already."""
    text = text.replace("\x00", "").strip()[:MAX_NAME]
    runs = Run.objects.visible_to(user).kept().brief().select_related("project")
    if text:
        runs = runs.filter(Q(name__icontains=text) | Q(project__name__icontains=text) | Q(pk=text))
    return list(runs.exclude(pk__in=list(without))[:FOUND_RUNS])


# --- what a run says of itself -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subject:
    """A section of the configuration: a value by name for each run."""

    name: str
    runs: list[dict[str, Any]]


def configuration(runs: Sequence[Run], *, commands: bool) -> list[Subject]:
    """What the runs were set to, the subjects that matter most first. ``commands``: with the
    commands and the names of the variables of their recipes."""
    sources = _resumed_from(runs)
    codes = RunCode.objects.in_bulk([run.pk for run in runs])
    return [
        Subject(_("Hyperparameters"), [flattened(run.hyperparameters) for run in runs]),
        Subject(_("Model, data and resources"), [_setting(run, sources) for run in runs]),
        Subject(_("Code"), [_code(run, codes.get(run.pk)) for run in runs]),
        Subject(_("Environment"), _environments(runs, commands=commands)),
        Subject(_("Tags"), [_own_tags(run) for run in runs]),
    ]


def code_and_data(runs: Sequence[Run], *, commands: bool) -> list[Subject]:
    """Which code read which data, and with what around it. ``commands``: as for configuration."""
    codes = RunCode.objects.in_bulk([run.pk for run in runs])
    inputs: dict[str, list[DatasetInput]] = {run.pk: [] for run in runs}
    rows = DatasetInput.objects.filter(run__in=[run.pk for run in runs])
    for row in rows.defer("schema", "profile"):
        inputs[row.run_id].append(row)
    return [
        Subject(_("Code"), [_code(run, codes.get(run.pk)) for run in runs]),
        Subject(_("Datasets"), [_data(run, inputs[run.pk]) for run in runs]),
        Subject(_("Versions"), [_versions(run) for run in runs]),
        Subject(_("Environment"), _environments(runs, commands=commands)),
    ]


def _setting(run: Run, sources: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        _("Model"): run.model or None,
        _("Dataset"): run.dataset or None,
        _("Recipe"): run.recipe_id,
        _("GPUs"): run.gpu_count,
        _("GPU type"): run.gpu_type or None,
        _("Total steps"): run.total_steps,
        _("Project"): run.project.name,
        _("Project version"): run.project_version,
        _("Resumed from"): sources.get(run.resumed_from_id or ""),
        _("Priority"): run.priority,
    }
    return {name: value for name, value in values.items() if value is not None}


def _resumed_from(runs: Sequence[Run]) -> dict[str, str]:
    ids = [run.resumed_from_id for run in runs if run.resumed_from_id]
    if not ids:
        return {}
    projects = {run.project_id for run in runs}  # in which they were resumed, too
    found_in = Artifact.every.filter(run__project__in=projects)
    checkpoints = found_in.filter(pk__in=ids).select_related("run")
    return {
        found.pk: _("%(run)s, step %(step)d") % {"run": found.run.name, "step": found.step or 0}
        for found in checkpoints
    }


def _code(run: Run, code: RunCode | None) -> dict[str, Any]:
    labels = {
        "mlflow.source.git.commit": _("Git commit"),
        "mlflow.git.commit": _("Git commit"),
        "mlflow.source.git.branch": _("Git branch"),
        "mlflow.git.branch": _("Git branch"),
        "mlflow.source.git.repoURL": _("Git remote"),
        "mlflow.git.repo_url": _("Git remote"),
        "mlflow.git.dirty": _("Uncommitted changes"),
        "mlflow.source.name": _("Source"),
        "mlflow.source.type": _("Source type"),
    }
    tags = {
        key: text for key, text in run.tags.items() if key.startswith(_CODE_TAGS) and key != _DIFF
    }
    known = {labels[key]: tags[key] for key in labels if key in tags} | _brought(code)
    return known | {key: text for key, text in sorted(tags.items()) if key not in labels}


def _brought(code: RunCode | None) -> dict[str, Any]:
    """Of the code that the run itself has brought."""
    if code is None:
        return {}
    origin = code.origin
    values = {
        _("Code"): None if code.bundle_id is None else code.bundle_id[:SHOWN_HASH],
        _("Git commit"): origin.get("commit"),
        _("Git branch"): origin.get("branch") or origin.get("revision"),
        _("Git remote"): origin.get("remote") or origin.get("git_url"),
        _("Uncommitted changes"): str(origin["dirty"]) if "dirty" in origin else None,
    }
    return {name: value for name, value in values.items() if value}


def _data(run: Run, inputs: Sequence[DatasetInput]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for row in inputs:
        context = row.tags.get("mlflow.data.context") if isinstance(row.tags, dict) else None
        name = f"{row.name} ({context})" if context else row.name
        found.setdefault(name, []).append(row.digest)
        if row.source:
            found.setdefault(_("%(name)s: source") % {"name": name}, []).append(row.source)
    inputs_by_name = {name: ", ".join(texts) for name, texts in found.items()}
    return ({_("Dataset"): run.dataset} if run.dataset else {}) | inputs_by_name


def _versions(run: Run) -> dict[str, Any]:
    reported = flattened(run.hyperparameters) | run.tags
    return {name: value for name, value in sorted(reported.items()) if _VERSION.search(name)}


def _environments(runs: Sequence[Run], *, commands: bool) -> list[dict[str, Any]]:
    """Of their recipes as they are now. The values of variables, which may be secrets, are told
    apart but not shown."""
    numbers: dict[str, dict[str, int]] = {}  # variable -> its values, numbered as they come
    for run in runs:
        for name, text in run.recipe.environment.items() if run.recipe is not None else ():
            known = numbers.setdefault(name, {})
            known.setdefault(text, len(known) + 1)
    return [_environment(run, numbers, commands=commands) for run in runs]


def _environment(
    run: Run, numbers: Mapping[str, Mapping[str, int]], *, commands: bool
) -> dict[str, Any]:
    if run.recipe is None:
        return {}
    values: dict[str, Any] = {_("Executor"): run.recipe.get_executor_display()}
    if commands:
        if run.recipe.command:
            values[_("Command")] = " ".join(run.recipe.command)
        for name, text in sorted(run.recipe.environment.items()):
            values[f"${name}"] = _variable(numbers[name], text)
        values |= {f"${name}": _("secret, set") for name in run.recipe.secret_names}
    return values


def _variable(numbers: Mapping[str, int], text: str) -> str:
    if len(numbers) == 1:
        return _("set")
    return _("value %(number)d, not shown") % {"number": numbers[text]}


def _own_tags(run: Run) -> dict[str, Any]:
    return {key: text for key, text in run.tags.items() if not key.startswith("mlflow.")}


# --- numbers of a run ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """``seconds``: from its start to its end, or to ``now``; None if it has not started.
    ``gpu_hours``: of the time that workers have held it; None without GPUs too."""

    seconds: float | None
    gpu_hours: float | None
    tokens: float | None


def figures(run: Run, now: datetime) -> Figures:
    time = elapsed(run, now)
    return Figures(
        seconds=None if time is None else max(0.0, time.total_seconds()),
        gpu_hours=gpu_hours(run, now) if run.gpu_count else None,
        tokens=_tokens(run),
    )


def _tokens(run: Run) -> float | None:
    """The most that any of its metrics counts."""
    counts = [
        value
        for key, value in run.metrics.items()
        if _TOKENS.search(key) and isinstance(value, (int, float))
    ]
    return max(counts, default=None)


def numbers(run: Run, now: datetime) -> dict[str, Any]:
    """What can be an axis besides hyperparameters and metrics, by name in the address."""
    found = figures(run, now)
    return {
        "duration": found.seconds,
        "gpu_hours": found.gpu_hours,
        "step": run.step,
        "tokens": found.tokens,
        "gpu_count": run.gpu_count,
        "gpu_type": run.gpu_type,
        "status": RunStatus(run.status).label,
        "model": run.model,
        "dataset": run.dataset,
        "project": run.project.name,
        "recipe": run.recipe_id,
    }


def number_labels() -> dict[str, str]:
    return {
        "duration": _("Duration (s)"),
        "gpu_hours": _("GPU-hours"),
        "step": _("Step"),
        "tokens": _("Tokens"),
        "gpu_count": _("GPUs"),
        "gpu_type": _("GPU type"),
        "status": _("Status"),
        "model": _("Model"),
        "dataset": _("Dataset"),
        "project": _("Project"),
        "recipe": _("Recipe"),
    }
