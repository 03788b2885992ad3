"""What launchers without a shared directory have sent, until the worker of their run has taken it.

See execution/mirror.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from artifacts.storage import open_range
from artifacts.unreferenced_blobs import UnreferencedBlob
from core.json_field import JSONField
from core.secrets import decrypt, encrypt
from runs.models import Run

MAX_PATH_BYTES: Final = 1000
MAX_VERSION_LENGTH: Final = 100
MAX_KEY_LENGTH: Final = 200


class MirroredAttempt(models.Model):
    """An attempt whose launchers reach the server over HTTP alone."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="mirrored_attempts")
    number = models.PositiveSmallIntegerField()
    # What launch.json has, with placeholders for a node's paths, but for the variables, which have
    # secrets.
    launch = JSONField()
    encrypted_environment = models.TextField(default="", db_default="")
    start_key = models.CharField(max_length=MAX_KEY_LENGTH)  # of the archive that it starts with
    start_bytes = models.PositiveBigIntegerField()
    start_sha256 = models.CharField(max_length=64)
    # What the launchers are asked for.
    stop = models.BooleanField(default=False)
    kill = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("mirrored attempt")
        verbose_name_plural = _("mirrored attempts")
        constraints = (
            models.UniqueConstraint(name="mirrored_attempt_number", fields=["run", "number"]),
        )

    def __str__(self) -> str:
        return f"{self.run_id}/{self.number}"

    def set_launch(self, launch: Mapping[str, Any]) -> None:
        """``launch``: what launch.json has. Does not save."""
        self.launch = {name: value for name, value in launch.items() if name != "environment"}
        self.encrypted_environment = encrypt(json.dumps(launch["environment"]))

    @property
    def whole_launch(self) -> dict[str, Any]:
        """What launch.json has. Raises Unreadable."""
        if not self.encrypted_environment:  # of an earlier release
            return dict(self.launch)
        return {**self.launch, "environment": json.loads(decrypt(self.encrypted_environment))}

    def forget(self) -> None:
        """Delete it with all that it has in the storage."""
        chunks = MirroredChunk.objects.filter(file__node__attempt=self).exclude(key="")
        keys = [*chunks.values_list("key", flat=True), self.start_key]
        UnreferencedBlob.objects.release(keys)
        self.delete()


class MirroredNode(models.Model):
    """One of its nodes. ``launcher``: the id of the directory there: no other may report."""

    attempt = models.ForeignKey(MirroredAttempt, on_delete=models.CASCADE, related_name="nodes")
    rank = models.PositiveIntegerField()
    launcher = models.CharField(max_length=64)
    seen_at = models.DateTimeField(db_default=Now())  # when it last reported
    # The node's clock minus the server's, in seconds, when it first reported.
    clock_seconds = models.FloatField(default=0.0)
    # The newest server time (Unix seconds) that it knew when it last listed its files; 0 if it did
    # not list all.
    listed_after = models.FloatField(default=0.0)
    revision = models.PositiveBigIntegerField(default=0)  # rises with every change of its files
    # Of what it has sent, what the worker has not stored yet: the sum of its chunks.
    waiting_bytes = models.PositiveBigIntegerField(default=0)
    problem = models.TextField(blank=True)  # which files it cannot send, and why
    is_told = models.BooleanField(default=True)  # its run's readers know the problem as it is

    class Meta:
        verbose_name = _("mirrored node")
        verbose_name_plural = _("mirrored nodes")
        constraints = (
            models.UniqueConstraint(name="mirrored_node_rank", fields=["attempt", "rank"]),
        )

    def __str__(self) -> str:
        return f"{self.attempt_id}.{self.rank}"


class MirroredFile(models.Model):
    """One of its files, as far as it has arrived: the bytes before ``received``. ``version`` names
    the content; ``size`` is that of a file which is sent as a whole, None of one that grows."""

    node = models.ForeignKey(MirroredNode, on_delete=models.CASCADE, related_name="files")
    path = models.TextField()
    version = models.CharField(max_length=MAX_VERSION_LENGTH)
    size = models.PositiveBigIntegerField(null=True)
    modified_ns = models.BigIntegerField(default=0)  # by the node's clock
    received = models.PositiveBigIntegerField(default=0)
    received_at = models.FloatField(default=0.0)  # when the last bytes came, in Unix seconds

    class Meta:
        verbose_name = _("mirrored file")
        verbose_name_plural = _("mirrored files")
        constraints = (models.UniqueConstraint(name="mirrored_file_path", fields=["node", "path"]),)

    def __str__(self) -> str:
        return self.path

    @property
    def is_whole(self) -> bool:
        return self.size is None or self.received == self.size


class MirroredChunk(models.Model):
    """Some of its bytes: in this row, or under ``key`` in the storage."""

    file = models.ForeignKey(MirroredFile, on_delete=models.CASCADE, related_name="chunks")
    start = models.PositiveBigIntegerField()
    size = models.PositiveIntegerField()
    content = models.BinaryField(null=True)
    key = models.CharField(max_length=MAX_KEY_LENGTH, blank=True)

    class Meta:
        verbose_name = _("mirrored chunk")
        verbose_name_plural = _("mirrored chunks")
        constraints = (
            models.UniqueConstraint(name="mirrored_chunk_start", fields=["file", "start"]),
        )

    def __str__(self) -> str:
        return f"{self.file_id}+{self.start}"

    def bytes(self) -> Any:
        """Raises FileNotFoundError, or the storage's errors."""
        if not self.key:
            return bytes(self.content or b"")
        with open_range(self.key) as file:
            return file.read()
