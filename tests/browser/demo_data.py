"""The demo data as page tests need it: what waits and runs does so without a worker's process.

``python -m tests.browser.demo_data`` migrates the database that DATABASE_URL names and fills it.
"""

from datetime import timedelta

import django
from django.core.management import call_command

WORKER = "gpu-node-4"


def main() -> None:
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("load_demo", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    add_operator()
    _take_code()
    _claim_first()
    _add_sweep()


def add_operator() -> None:
    """Somebody who may write recipes: see ``sign_in`` in tests/browser/site.py."""
    from django.contrib.auth.models import User

    from tests.browser.site import OPERATOR, PASSWORD

    User.objects.create_superuser(OPERATOR, password=PASSWORD)


def _take_code() -> None:
    """The form of a run asks for code."""
    from runs.models import Recipe

    Recipe.objects.filter(name="demo-sft").update(
        code="optional", code_from="members", git_urls=["https://git.example/sft.git"]
    )


def _claim_first() -> None:
    """A worker without a process, whose lease lasts longer than the tests, has taken the first run
    of each project: the GPUs that the others wait for are in use."""
    from django.db import transaction
    from django.utils import timezone

    from metrics.points import Point
    from metrics.recording import record_metrics
    from runs.models import Run, Worker

    now = timezone.now()
    worker = Worker.objects.create(
        name=WORKER,
        host=WORKER,
        pid=4118,
        executors=["simulated", "process"],
        slots=2,
        started_at=now,
        last_heartbeat=now + timedelta(days=1),
    )
    queue = Run.objects.queued().order_by("project_id", "-priority", "queued_at", "id")
    for run in queue.distinct("project_id"):
        with transaction.atomic():
            locked = Run.objects.lock(run.pk)
            locked.claim(worker)
            locked.change(attempt_started_at=now)
            started_ms = int(1000 * now.timestamp())
            points = [
                Point("train_loss", step, 3 / (1 + step / 100), started_ms + 10 * step)
                for step in range(1, 300)
            ]
            record_metrics(locked, points)


def _add_sweep() -> None:
    """A sweep whose trials are the demo's runs of one."""
    from runs.models import Run
    from sweeps.models import Sweep, SweepStatus, SweepTrial, TrialState

    runs = list(Run.objects.filter(name__startswith="sft-lr", finished_at__isnull=False)[:20])
    names = ("batch_size", "learning_rate")
    sweep = Sweep.objects.create(
        project=runs[0].project,
        name="sft",
        recipe=runs[0].recipe,
        search_space={
            "batch_size": {"type": "categorical", "choices": [32, 64, 128]},
            "learning_rate": {"type": "float", "low": 1e-6, "high": 1e-3, "log": True},
        },
        method="tpe",
        metric="eval_loss",
        goal="minimize",
        max_trials=len(runs),
        max_parallel=4,
        seed=1,
        status=SweepStatus.COMPLETED,
        trial_count=len(runs),
    )
    for number, run in enumerate(runs):
        value = run.metrics.get("eval_loss")
        SweepTrial.objects.create(
            sweep=sweep,
            number=number,
            run=run,
            state=TrialState.FAILED if value is None else TrialState.COMPLETE,
            value=value,
            params={name: run.hyperparameters.get(name) for name in names},
            ended_at=run.finished_at,
        )


if __name__ == "__main__":
    main()
