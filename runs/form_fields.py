"""Form fields of recipes: commands, environments and addresses as text."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext as _

from core.git import MAX_URL_LENGTH
from projects.form_fields import ParsedField
from runs.commands import (
    check_command,
    check_environment,
    format_command,
    format_environment,
    parse_command,
    parse_environment,
)


class CommandField(ParsedField):
    """A command in any of the forms of runs.commands, shown one argument a line."""

    def __init__(self, **kwargs: Any) -> None:
        attributes = {"rows": 6, "cols": 80, "spellcheck": "false", "class": "code"}
        widget = forms.Textarea(attrs=attributes)
        super().__init__(required=False, strip=False, widget=widget, **kwargs)

    def parse(self, text: str) -> list[str]:
        arguments = parse_command(text)
        check_command(arguments)
        return arguments

    def prepare_value(self, value: Any) -> Any:
        return format_command(value) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class EnvironmentField(ParsedField):
    """Variables, one NAME=value a line."""

    def __init__(self, **kwargs: Any) -> None:
        attributes = {"rows": 4, "cols": 80, "spellcheck": "false", "class": "code"}
        widget = forms.Textarea(attrs=attributes)
        super().__init__(required=False, strip=False, widget=widget, **kwargs)

    def parse(self, text: str) -> dict[str, str]:
        variables = parse_environment(text)
        check_environment(variables)
        return variables

    def prepare_value(self, value: Any) -> Any:
        return format_environment(value) if isinstance(value, dict) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class SecretsField(EnvironmentField):
    """Secret variables, one NAME=value a line: those to add or to replace. Nothing of what is
    stored is ever in the form."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widget.attrs["autocomplete"] = "off"

    def parse(self, text: str) -> dict[str, str]:
        variables = super().parse(text)
        for name, value in variables.items():
            if not value:
                raise forms.ValidationError(
                    _("The secret %(name)s has no value."), params={"name": name}
                )
        return variables


class AddressesField(ParsedField):
    """Addresses, one a line."""

    MAX: ClassVar[int] = 50

    def __init__(self, **kwargs: Any) -> None:
        attributes = {"rows": 2, "cols": 80, "spellcheck": "false", "class": "code"}
        widget = forms.Textarea(attrs=attributes)
        limit = self.MAX * (MAX_URL_LENGTH + 2)
        super().__init__(required=False, max_length=limit, widget=widget, **kwargs)

    def parse(self, text: str) -> list[str]:
        lines = (line.strip() for line in text.splitlines())
        addresses = list(dict.fromkeys(line for line in lines if line))
        if len(addresses) > self.MAX:
            raise forms.ValidationError(
                _("At most %(limit)d addresses."), params={"limit": self.MAX}, code="too_many"
            )
        return addresses

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)
