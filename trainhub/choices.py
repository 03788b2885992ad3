"""The base of every set of choices whose values are the contract's Chinese words."""

from django.db import models


class ContractChoices(models.TextChoices):
    """English member, Chinese value (the contract, in every language), translatable label.

    ``RUNNING = "运行中", _("Running")``: the database and the API hold ``运行中``, pages show the
    label in the reader's language, and CSS classes, file names and log fields use ``slug``.
    """

    @property
    def slug(self) -> str:
        return self.name.lower().replace("_", "-")
