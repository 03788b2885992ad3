"""The states of a run and the ways between them: pure data, no database."""

from django.utils.translation import gettext_lazy as _

from trainhub.choices import ContractChoices
from trainhub.exceptions import DomainError


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

TERMINAL: frozenset[RunStatus] = frozenset(
    status for status, following in TRANSITIONS.items() if not following
)
ACTIVE: frozenset[RunStatus] = frozenset(TRANSITIONS) - TERMINAL


def sources(to: RunStatus) -> frozenset[RunStatus]:
    """The statuses that may become ``to``."""
    return frozenset(status for status, following in TRANSITIONS.items() if to in following)


class InvalidTransition(DomainError):
    code = "invalid_transition"
