"""Attempts as launchers find them that share no directory with their worker."""

from django.core.files.base import ContentFile

from artifacts.storage import artifact_storage
from execution.models import MirroredAttempt
from runs.models import Run
from tests.factories import sha256


def begin_on_nodes(run: Run) -> None:
    """What the launchers of ``run`` would find if its executor had some."""
    key = artifact_storage().save(f"{run.project_id}/{run.pk}/start.tar", ContentFile(b"tar"))
    attempt = MirroredAttempt(
        run=run, number=1, start_key=key, start_bytes=3, start_sha256=sha256(b"tar")
    )
    attempt.set_launch({"command": ["x"], "environment": {}})
    attempt.save()
