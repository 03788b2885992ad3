"""MLflow's words for what TrainHub has: statuses, tags, stages of life, addresses, times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

from django.utils.translation import gettext as _

from runs.status import RunStatus
from tracking.errors import InvalidParameter

NOTE_TAG: Final = "mlflow.note.content"  # of an experiment: what the project's description says
USER_TAG: Final = "mlflow.user"

STATUS_NAMES: Final = {
    RunStatus.QUEUED: "SCHEDULED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.COMPLETED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELLED: "KILLED",
}
STATUSES: Final = {name: status for status, name in STATUS_NAMES.items()}

StatusName: TypeAlias = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
ViewType: TypeAlias = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds(time: datetime) -> int:
    """Unix time."""
    return (time - EPOCH) // MILLISECOND


def time_from(value: int, *, name: str) -> datetime:
    """Raises InvalidParameter for a time that no calendar has."""
    try:
        return EPOCH + MILLISECOND * value
    except OverflowError:
        raise InvalidParameter(_("%(name)s is no time in milliseconds.") % {"name": name}) from None


def lifecycle_stage(*, is_deleted: bool) -> str:
    return "deleted" if is_deleted else "active"


def artifact_location(experiment_id: str) -> str:
    return f"mlflow-artifacts:/{experiment_id}"


def artifact_uri(project_id: str, run_id: str) -> str:
    """Where clients are told that the run's files lie."""
    return f"{artifact_location(project_id)}/{run_id}/artifacts"
