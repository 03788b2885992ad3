"""A mixin for models whose rows MLflow clients can tag."""

from typing import Self

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from core.json_field import JSONField


class TagsMixin(models.Model):
    """Adds tags (key -> text) that several clients can set concurrently."""

    tags = JSONField(_("tags"), default=dict, blank=True)

    class Meta:
        abstract = True

    def set_tags(self, tags: dict[str, str]) -> None:
        with transaction.atomic():
            self._save_tags({**self._locked().tags, **tags})

    def delete_tag(self, key: str) -> bool:
        """Delete the tag; return whether it existed."""
        with transaction.atomic():
            tags = self._locked().tags
            if key not in tags:
                return False
            del tags[key]
            self._save_tags(tags)
            return True

    def _locked(self) -> Self:
        return type(self)._default_manager.select_for_update(no_key=True).get(pk=self.pk)

    def _save_tags(self, tags: dict[str, str]) -> None:
        type(self)._default_manager.filter(pk=self.pk).update(tags=tags)
        self.tags = tags
