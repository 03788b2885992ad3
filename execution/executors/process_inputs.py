"""What a process starts with: its command, its environment, its checkpoint."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from artifacts.checkpoints import resumed_from
from artifacts.models import Artifact
from core.exceptions import InvalidInput
from core.messages import Message, Text, words_of
from execution.executors import environment, event_files
from execution.executors.attempt import Attempt
from execution.executors.checkpoint_files import Damaged, fetch
from execution.executors.training_user import TrainingUser
from runs.datasets import check_dataset
from runs.executors import CannotStart
from runs.models import Run
from runs.models.recipe import SecretsUnreadable


@dataclass(frozen=True)
class Source:
    """The checkpoint that an attempt starts from; ``path`` is None if it starts from scratch."""

    step: int
    path: Path | None
    skipped: list[Text]  # for the run's log: checkpoints that could not be used, and why
    is_own: bool = False  # a checkpoint of the run itself, which had reported its steps up to there


def source_of(run: Run, folder: Path) -> Source:
    """The run's latest sound checkpoint, else the one it was resumed from, fetched into ``folder``.

    Raises CannotStart if the latter is damaged: the user did not ask to start from scratch.
    """
    skipped: list[Text] = []
    for checkpoint in Artifact.objects.checkpoints_of(run):
        try:
            path = fetch(checkpoint, folder)
            return Source(checkpoint.step or 0, path, skipped, is_own=True)
        except Damaged as problem:
            skipped.append(_damage(checkpoint, problem))
    origin = resumed_from(run)
    if origin is None:
        return Source(0, None, skipped)
    try:
        return Source(run.start_step, fetch(origin, folder), skipped)
    except Damaged as problem:
        raise CannotStart(_damage(origin, problem)) from None


def _damage(checkpoint: Artifact, problem: Damaged) -> Message:
    return Message(
        "The checkpoint %(id)s is damaged: %(problem)s.", id=checkpoint.pk, problem=problem
    )


def command_of(
    run: Run, code: Path | None = None, *, python: str = "", repository: str = ""
) -> list[str]:
    """The recipe's command with its placeholders filled in. ``code``: the folder of the run's code;
    ``python`` and ``repository``: by default those of this host.
    Raises CannotStart, also for a dataset that the training must not read."""
    try:  # again: a script may have reported it since, and this host has other files
        check_dataset(run.dataset)
    except InvalidInput as error:
        raise CannotStart(words_of(error)) from None
    assert run.recipe is not None
    command = [filled_in(part, code, python, repository) for part in run.recipe.command]
    if not command:
        raise CannotStart(Message("The recipe has no command."))
    return command


def filled_in(
    argument: str, code: Path | None = None, python: str = "", repository: str = ""
) -> str:
    """An argument of a command as it is on this host: see runs.commands.PLACEHOLDERS."""
    values = {
        "{python}": python or sys.executable,
        "{repository}": repository or str(settings.BASE_DIR),
    }
    if code is not None:
        values["{code}"] = str(code)
    for placeholder, value in values.items():
        argument = argument.replace(placeholder, value)
    return argument


def secrets_of(run: Run) -> dict[str, str]:
    """The secret variables of the run's recipe. Raises CannotStart."""
    assert run.recipe is not None
    try:
        return run.recipe.decrypted_secrets()
    except SecretsUnreadable as error:
        raise CannotStart(words_of(error)) from None


def environment_of(
    run: Run,
    attempt: Attempt,
    folder: Path,
    user: TrainingUser | None = None,
    *,
    secrets: dict[str, str],
    gpus: dict[str, str],
    inherits: bool = True,
) -> dict[str, str]:
    """``folder``: where the training works. ``user``: its own, if it is not the worker's.
    ``secrets``: its recipe's (``secrets_of``). ``gpus``: the variables that show it its GPUs.
    ``inherits``: whether it gets variables of this process."""
    assert run.recipe is not None
    trainhub = {
        "PYTHONUNBUFFERED": "1",  # log lines appear as soon as they are printed
        "TRAINHUB_RUN_ID": run.pk,
        "TRAINHUB_PROJECT_ID": run.project_id,
        "TRAINHUB_ATTEMPT": str(attempt.number),
        "TRAINHUB_URL": settings.PUBLIC_URL,
        "TRAINHUB_CONFIG": str(folder / "config.json"),
        "TRAINHUB_OUTPUT_DIR": str(folder),
        "TRAINHUB_METRICS_FILE": str(folder / "metrics.jsonl"),
        "TRAINHUB_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "TRAINHUB_DATASET_DIRS": os.pathsep.join(settings.DATASET_DIRS),
    }
    # For MLflow clients: by default, the script reports to its own run. The recipe can override it.
    mlflow = {"MLFLOW_TRACKING_URI": settings.PUBLIC_URL, "MLFLOW_RUN_ID": run.pk}
    tensorboard = {}
    if run.recipe.read_tensorboard:
        tensorboard[event_files.FOLDER_VARIABLE] = str(folder / event_files.FOLDER)
    inherited = environment.inherited() if inherits else {}
    if user is not None:
        inherited = environment.without_home(inherited) | user.environment(folder)
    ours = {**inherited, **mlflow, **gpus, **tensorboard}
    return {**ours, **run.recipe.environment, **secrets, **trainhub}
