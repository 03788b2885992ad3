"""The types of artifacts and the tags of checkpoints."""

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.choices import ContractChoices

MAX_NAME_LENGTH: Final = 250  # of an artifact


class ArtifactType(models.TextChoices):
    CHECKPOINT = "checkpoint", _("Checkpoint")
    EVENT = "event", _("TensorBoard events")
    EVALUATION = "evaluation", _("Evaluation result")
    CONFIG = "config", _("Configuration")
    FILE = "file", _("File")

    @property
    def id_prefix(self) -> str:
        shortened = {"checkpoint": "ckpt", "event": "log", "evaluation": "eval", "config": "conf"}
        return shortened.get(self.value, self.value)


class TagValue(ContractChoices):
    CANDIDATE = "候选", _("Candidate")
    RELEASED = "发布", _("Released")
    ARCHIVED = "归档", _("Archived")
