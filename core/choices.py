"""Base class for choices whose values are the Chinese words of the contract."""

from django.db import models


class ContractChoices(models.TextChoices):
    """English member name, Chinese value (the contract, in every language), translatable label.

    ``RUNNING = "运行中", _("Running")``: the database and the API use ``运行中``, pages show the
    label in the user's language, and CSS classes, file names and log fields use ``slug``.
    """

    @property
    def slug(self) -> str:
        return self.name.lower().replace("_", "-")
