"""MLflow equivalents of TrainHub values: statuses, tags, lifecycle stages, URIs, times."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeAlias

from django.utils.translation import gettext as _

from core.times import EPOCH, MILLISECOND, is_time
from runs.status import RunStatus
from tracking.errors import InvalidParameter

NOTE_TAG: Final = "mlflow.note.content"  # of an experiment: the project description
USER_TAG: Final = "mlflow.user"

STATUS_NAMES: Final = {
    RunStatus.QUEUED: "SCHEDULED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.PAUSED: "SCHEDULED",
    RunStatus.COMPLETED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELLED: "KILLED",
}
# MLflow has no word for a pause, and no client reports one.
STATUSES: Final = {
    name: status for status, name in STATUS_NAMES.items() if status != RunStatus.PAUSED
}

StatusName: TypeAlias = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
ViewType: TypeAlias = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]


def time_from(value: int, *, name: str) -> datetime:
    """Raises InvalidParameter."""
    check_time(value, name=name)
    return EPOCH + MILLISECOND * value


def check_time(value: int, *, name: str) -> None:
    """Raises InvalidParameter for a time outside the years 1970 to 9999: one in microseconds, or in
    nanoseconds, for one."""
    if not is_time(value):
        text = _("%(name)s must be a Unix time in milliseconds, of the years 1970 to 9999.")
        raise InvalidParameter(text % {"name": name})


def lifecycle_stage(*, is_deleted: bool) -> str:
    return "deleted" if is_deleted else "active"


def artifact_location(experiment_id: str) -> str:
    return f"mlflow-artifacts:/{experiment_id}"


def artifact_uri(project_id: str, run_id: str) -> str:
    """The location of the run's files, as reported to clients."""
    return f"{artifact_location(project_id)}/{run_id}/artifacts"
