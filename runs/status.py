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

# Scripts started elsewhere say themselves how they are: they go on with a run that has ended, and
# correct how it ended, e.g. of one that was given up for lost.
EXTERNAL_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: TRANSITIONS[RunStatus.QUEUED],
    RunStatus.RUNNING: TRANSITIONS[RunStatus.RUNNING],
    RunStatus.COMPLETED: frozenset({RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.FAILED: frozenset({RunStatus.RUNNING, RunStatus.COMPLETED, RunStatus.CANCELLED}),
    RunStatus.CANCELLED: frozenset({RunStatus.RUNNING, RunStatus.COMPLETED, RunStatus.FAILED}),
}

TERMINAL: frozenset[RunStatus] = frozenset(
    status for status, following in TRANSITIONS.items() if not following
)
ACTIVE: frozenset[RunStatus] = frozenset(TRANSITIONS) - TERMINAL


def sources(to: RunStatus, *, external: bool = False) -> frozenset[RunStatus]:
    """The statuses that may become ``to``; ``external``: of a script started elsewhere."""
    table = EXTERNAL_TRANSITIONS if external else TRANSITIONS
    return frozenset(status for status, following in table.items() if to in following)


class InvalidTransition(DomainError):
    code = "invalid_transition"
