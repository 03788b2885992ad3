"""The statuses of a run and the transitions between them: pure data, no database."""

from django.utils.translation import gettext_lazy as _

from core.choices import ContractChoices
from core.exceptions import DomainError


class RunStatus(ContractChoices):
    QUEUED = "排队中", _("Queued")
    RUNNING = "运行中", _("Running")
    COMPLETED = "已完成", _("Completed")
    FAILED = "已失败", _("Failed")
    CANCELLED = "已取消", _("Cancelled")


TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.RUNNING: frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}

# Unmanaged runs report their own status, in any order: they can continue after they ended, wait
# again, and correct how they ended, e.g. after they were marked as lost.
UNMANAGED_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    status: frozenset(RunStatus) - {status} for status in RunStatus
}

TERMINAL: frozenset[RunStatus] = frozenset(
    status for status, following in TRANSITIONS.items() if not following
)
ACTIVE: frozenset[RunStatus] = frozenset(TRANSITIONS) - TERMINAL


def sources(to: RunStatus, *, unmanaged: bool = False) -> frozenset[RunStatus]:
    """The statuses that may become ``to``; ``unmanaged``: for an unmanaged run."""
    table = UNMANAGED_TRANSITIONS if unmanaged else TRANSITIONS
    return frozenset(status for status, following in table.items() if to in following)


class InvalidTransition(DomainError):
    code = "invalid_transition"
