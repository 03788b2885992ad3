"""Why a run failed, as a type that programs can act on."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class FailureKind(models.TextChoices):
    """The values are part of the API and stored in databases: do not rename them."""

    OUT_OF_MEMORY = "out_of_memory", _("Out of memory")
    DISK_FULL = "disk_full", _("Disk full")
    DIVERGED = "diverged", _("Diverged")
    COMMUNICATION = "communication", _("Communication between processes failed")
    IMPORT_ERROR = "import_error", _("Import error")
    CANNOT_START = "cannot_start", _("Cannot start")
    STALLED = "stalled", _("Stalled")
    KILLED = "killed", _("Killed")
    WORKER_LOST = "worker_lost", _("Worker lost")
    TIME_LIMIT = "time_limit", _("Time limit")
    NODE_FAILED = "node_failed", _("Node failed")
    PREEMPTED = "preempted", _("Preempted in its cluster")
    CLUSTER_CANCEL = "cluster_cancel", _("Cancelled in its cluster")
    EXIT_CODE = "exit_code", _("Exited with an error")
