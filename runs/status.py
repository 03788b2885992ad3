"""The statuses of a run and the transitions between them: pure data, no database."""

from django.utils.translation import gettext_lazy as _

from core.choices import ContractChoices
from core.exceptions import DomainError


class RunStatus(ContractChoices):
    QUEUED = "排队中", _("Queued")
    RUNNING = "运行中", _("Running")
    PAUSED = "已暂停", _("Paused")
    COMPLETED = "已完成", _("Completed")
    FAILED = "已失败", _("Failed")
    CANCELLED = "已取消", _("Cancelled")


TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset(
        {RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.CANCELLED, RunStatus.FAILED}
    ),
    # Back to the queue: preempted, or waiting in the queue of its cluster again.
    RunStatus.RUNNING: frozenset(
        {
            RunStatus.QUEUED,
            RunStatus.PAUSED,
            RunStatus.COMPLETED,
            RunStatus.FAILED,
            RunStatus.CANCELLED,
        }
    ),
    RunStatus.PAUSED: frozenset({RunStatus.QUEUED, RunStatus.CANCELLED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}

# Unmanaged runs report their own status, in any order: they can continue after they ended, wait
# again, and correct how they ended, e.g. after they were marked as lost. No worker can pause them.
_REPORTED: frozenset[RunStatus] = frozenset(RunStatus) - {RunStatus.PAUSED}
UNMANAGED_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    status: _REPORTED - {status} for status in _REPORTED
}

TERMINAL: frozenset[RunStatus] = frozenset(
    status for status, following in TRANSITIONS.items() if not following
)
ACTIVE: frozenset[RunStatus] = frozenset(TRANSITIONS) - TERMINAL
# A worker has claimed it or will.
PENDING: frozenset[RunStatus] = ACTIVE - {RunStatus.PAUSED}


def sources(to: RunStatus, *, unmanaged: bool = False) -> frozenset[RunStatus]:
    """The statuses that may become ``to``; ``unmanaged``: for an unmanaged run."""
    table = UNMANAGED_TRANSITIONS if unmanaged else TRANSITIONS
    return frozenset(status for status, following in table.items() if to in following)


class InvalidTransition(DomainError):
    code = "invalid_transition"
