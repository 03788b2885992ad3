"""Rows that MLflow's clients tag."""

from typing import Self

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from trainhub.json_field import JSONField


class Tagged(models.Model):
    """A row with tags, key -> text, that several clients may set at once."""

    tags = JSONField(_("tags"), default=dict, blank=True)

    class Meta:
        abstract = True

    def set_tags(self, tags: dict[str, str]) -> None:
        with transaction.atomic():
            self._keep_tags({**self._locked().tags, **tags})

    def delete_tag(self, key: str) -> None:
        """A tag that is not there is deleted already."""
        with transaction.atomic():
            tags = self._locked().tags
            tags.pop(key, None)
            self._keep_tags(tags)

    def _locked(self) -> Self:
        return type(self)._default_manager.select_for_update(no_key=True).get(pk=self.pk)

    def _keep_tags(self, tags: dict[str, str]) -> None:
        type(self)._default_manager.filter(pk=self.pk).update(tags=tags)
        self.tags = tags
