"""A number that tells whether anybody's access has changed."""

from __future__ import annotations

from django.db import models


class AccessVersion(models.Model):
    """The one row of this table; triggers increment it in every transaction that changes who may
    see what. Web servers remember roles for as long as it stays the same."""

    number = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)
