"""Queries of runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Sum
from django.db.models.functions import Now

from accounts.grants import AnyUser, grant_of
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from core.gates import Gate
from projects.access import may
from projects.models import Project
from runs.status import ACTIVE, PENDING, RunStatus

if TYPE_CHECKING:
    from runs.models.run import Run
    from runs.models.worker import Worker

PARENT_TAG: Final = "mlflow.parentRunId"  # of a nested run, as MLflow's clients set it


ROW = Gate(share=0.25)  # to the row of a run that another transaction has locked


# The columns of any size: kilobytes each in a run with many metrics and params.
DOCUMENTS: Final = frozenset(
    {
        "hyperparameters",
        "requested_hyperparameters",
        "tags",
        "metrics",
        "executor_state",
    }
)


class LeaseLost(Exception):
    """The run is no longer this worker's: ended, or taken over by another."""


class RunQuerySet(models.QuerySet["Run"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> RunQuerySet:
        """The runs of projects in which ``user`` has ``role``. A script sees its own, and those
        that it has created nested in it."""
        if run_id := script_run_of(user):
            nested = Q(**{f"tags__{PARENT_TAG}": run_id}, recipe=None, created_by=user.pk)
            return self.filter(Q(pk=run_id) | nested)
        if sees_everything(user, role=role):
            return self.all()
        return self.filter(project__in=Project.objects.visible_to(user, role=role))

    def visible_in(self, project_id: str, user: AnyUser) -> RunQuerySet:
        """The runs of one project that are visible to ``user``: the same, by the role there, which
        is remembered, instead of a condition on every run."""
        runs = self.filter(project=project_id)
        if script_run_of(user):
            return runs.visible_to(user)
        return runs if may(user, project_id, grant_of(user).needed_role) else self.none()

    def listed(self) -> RunQuerySet:
        """Without hidden runs; those in the trash included."""
        return self.filter(is_hidden=False)

    def queued(self) -> RunQuerySet:
        return self.filter(status=RunStatus.QUEUED)

    def running(self) -> RunQuerySet:
        return self.filter(status=RunStatus.RUNNING)

    def active(self) -> RunQuerySet:
        return self.filter(status__in=ACTIVE)

    def unclaimed(self) -> RunQuerySet:
        """Waiting for a worker: queued, resumed, or left by a worker that died or stopped."""
        return self.filter(status__in=PENDING, worker=None).exclude(recipe=None)

    def unmanaged(self) -> RunQuerySet:
        """Runs whose scripts are not started by a worker, and report through the API."""
        return self.filter(recipe=None)

    def silent_for(self, seconds: float) -> RunQuerySet:
        """Unmanaged runs in progress that have not reported for ``seconds``."""
        threshold = Now() - timedelta(seconds=seconds)
        return self.unmanaged().running().filter(reported_at__lt=threshold)

    def reported_again(self) -> RunQuerySet:
        """Unmanaged runs that have reported since they were marked as lost."""
        return self.unmanaged().filter(status=RunStatus.FAILED, reported_at__gte=F("lost_at"))

    def kept(self) -> RunQuerySet:
        """Runs that are listed: not in the trash, nor hidden."""
        return self.listed().filter(deleted_at=None)

    def brief(self, *documents: str) -> RunQuerySet:
        """Without what may be long, which lists do not show, except for ``documents``."""
        return self.defer(*(DOCUMENTS - {*documents}))

    def in_queue_order(self) -> RunQuerySet:
        return self.order_by("-priority", "queued_at", "id")

    def held_by(self, worker: Worker) -> RunQuerySet:
        """The runs of this incarnation of ``worker``: a replaced predecessor holds none."""
        return self.active().filter(worker=worker, worker__incarnation=worker.incarnation)

    def gpus_in_use(self) -> dict[str, int]:
        """How many GPUs of each pool the runs of workers use: a run that waits for a worker, or
        whose script is not started by one, holds none."""
        held = self.running().exclude(worker=None).order_by()
        return dict(held.values_list("pool").annotate(count=Sum("gpu_count")))

    def gpus_submitted(self) -> dict[str, int]:
        """How many GPUs of each pool the runs need that wait in their clusters."""
        waiting = self.filter(status=RunStatus.QUEUED).exclude(worker=None).order_by()
        return dict(waiting.values_list("pool").annotate(count=Sum("gpu_count")))

    def lost(self) -> RunQuerySet:
        """Runs whose worker's lease has expired, by the database's clock."""
        lease = timedelta(seconds=settings.WORKER_LEASE_SECONDS)
        return self.active().filter(worker__last_heartbeat__lt=Now() - lease)

    def lock(self, pk: str) -> Run:
        """Lock the run's row until the transaction ends. Raises Run.DoesNotExist, DatabaseBusy."""
        runs = self.select_related("recipe", "project", "worker").filter(pk=pk)
        run = runs.select_for_update(skip_locked=True, no_key=True, of=("self",)).first()
        if run is not None:
            return run
        with ROW.entering(pk):  # another transaction has it, or it is not there
            return runs.select_for_update(no_key=True, of=("self",)).get()

    def lock_held_by(self, worker: Worker, pk: str) -> Run:
        """Like ``lock``, if ``worker`` still holds the run. Raises LeaseLost."""
        try:
            return self.held_by(worker).lock(pk)
        except self.model.DoesNotExist:
            raise LeaseLost(pk) from None
