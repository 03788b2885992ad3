"""The commands and environments of recipes, as operators write them and as they must be.

A command is a list of arguments. People paste it in three forms: one argument a line, a list in
JSON or Python, or a line as for a shell. ``parse_command`` recognizes which.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

# What a worker fills in: see execution/executors/process_inputs.py.
CODE_PLACEHOLDER: Final = "{code}"
PLACEHOLDERS: Final = ("{python}", "{repository}", CODE_PLACEHOLDER)
MAX_ARGUMENT_LENGTH: Final = 1000
MAX_ARGUMENTS: Final = 500
MAX_TEXT_LENGTH: Final = 100_000  # of a command or an environment as text
MAX_VARIABLES: Final = 500
MAX_VALUE_LENGTH: Final = 10_000
RESERVED_PREFIX: Final = "TRAINHUB_"

_PLACEHOLDER: Final = re.compile(r"(?<!\$)\{[A-Za-z_]+\}")
# Text with any of these is code of another language, such as of python -c, where braces have a
# meaning of their own.
_CODE: Final = re.compile(r"[\s'\"$;()]")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_OF_SHELLS: Final = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "<<", "2>&1"})


def parse_command(text: str) -> list[str]:
    """The arguments that ``text`` says. Raises ValidationError.

    Of several lines, each is an argument, unchanged; a line that ends with a backslash, or a line
    alone, is read as a shell would read it.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValidationError(
            _("The text has %(length)d characters; at most %(limit)d are accepted."),
            params={"length": len(text), "limit": MAX_TEXT_LENGTH},
        )
    text = text.replace("\r\n", "\n").strip("\n")
    if not text.strip():
        return []
    if text.lstrip().startswith("["):
        return _from_list(text.strip())
    lines = text.split("\n")
    if len(lines) == 1 or any(line.rstrip().endswith("\\") for line in lines[:-1]):
        return _from_shell(text)
    return lines


def _from_list(text: str) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValidationError(
                _("The command begins like a list, but is none of JSON or Python.")
            ) from None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValidationError(_("Every item of the list must be a text in quotes."))
    return value


def _from_shell(text: str) -> list[str]:
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError:
        raise ValidationError(_("A quotation mark of the command is not closed.")) from None
    for word in words:
        if word in _OF_SHELLS:
            raise ValidationError(
                _(
                    "There is no shell to understand %(word)s. Write it in a script, or begin the "
                    "command with: bash -c"
                ),
                params={"word": word},
            )
    if words and _ASSIGNMENT.fullmatch(words[0]):
        raise ValidationError(
            _("The program is missing: write %(word)s into the environment."),
            params={"word": words[0]},
        )
    return words


def format_command(arguments: Sequence[str]) -> str:
    """A text that ``parse_command`` reads as ``arguments``: one a line if it can be."""
    text = "\n".join(arguments)
    try:
        if parse_command(text) == list(arguments):
            return text
    except ValidationError:
        pass
    return json.dumps(list(arguments), ensure_ascii=False, indent=1)


def check_command(arguments: Sequence[str]) -> None:
    """Raises ValidationError for what no worker could start."""
    if len(arguments) > MAX_ARGUMENTS:
        raise ValidationError(
            _("The command has %(count)d arguments; at most %(limit)d are accepted."),
            params={"count": len(arguments), "limit": MAX_ARGUMENTS},
        )
    for number, argument in enumerate(arguments, 1):
        _check_argument(number, argument)


def _check_argument(number: int, argument: str) -> None:
    if number == 1 and not argument.strip():
        raise ValidationError(_("The program is empty."))
    if not argument:
        raise ValidationError(_("Argument %(number)d is empty."), params={"number": number})
    if "\x00" in argument:
        raise ValidationError(
            _("Argument %(number)d contains a null character."), params={"number": number}
        )
    if len(argument) > MAX_ARGUMENT_LENGTH:
        raise ValidationError(
            _("Argument %(number)d has %(length)d characters; at most %(limit)d are accepted."),
            params={"number": number, "length": len(argument), "limit": MAX_ARGUMENT_LENGTH},
        )
    for placeholder in () if _CODE.search(argument) else _PLACEHOLDER.findall(argument):
        if placeholder not in PLACEHOLDERS:
            raise ValidationError(
                _("Argument %(number)d: %(placeholder)s is unknown. There are %(known)s."),
                params={
                    "number": number,
                    "placeholder": placeholder,
                    "known": ", ".join(PLACEHOLDERS),
                },
            )


def parse_environment(text: str) -> dict[str, Any]:
    """The variables of lines NAME=value, or of a JSON object. Raises ValidationError.

    Empty lines and those that begin with # are skipped. A value in double quotes is one of JSON.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValidationError(
            _("The text has %(length)d characters; at most %(limit)d are accepted."),
            params={"length": len(text), "limit": MAX_TEXT_LENGTH},
        )
    if text.lstrip().startswith("{"):
        return _from_object(text)
    variables: dict[str, Any] = {}
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name = name.strip()
        if not equals or not name:
            raise ValidationError(
                _("Line %(number)d is not of the form NAME=value."), params={"number": number}
            )
        if name in variables:
            raise ValidationError(
                _("Line %(number)d sets %(name)s again."), params={"number": number, "name": name}
            )
        variables[name] = _unquoted(value.strip())
    return variables


def _from_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError(_("The environment begins like JSON, but is none.")) from None
    check_environment(value)
    variables: dict[str, Any] = value
    return variables


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            text = json.loads(value)
        except ValueError:
            return value
        return text if isinstance(text, str) else value
    return value


def format_environment(variables: Mapping[str, str]) -> str:
    """A text that ``parse_environment`` reads as ``variables``."""
    return "\n".join(f"{name}={_quoted(value)}" for name, value in variables.items())


def _quoted(value: str) -> str:
    is_plain = value == value.strip() and "\n" not in value and "\r" not in value
    return value if is_plain and _unquoted(value) == value else json.dumps(value)


def check_environment(value: Any) -> None:
    """A flat object of texts under names that a process may have; those that begin with TRAINHUB_
    are the worker's. Raises ValidationError."""
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValidationError(_("The environment must be a JSON object of strings."))
    if len(value) > MAX_VARIABLES:
        raise ValidationError(
            _("The environment has %(count)d variables; at most %(limit)d are accepted."),
            params={"count": len(value), "limit": MAX_VARIABLES},
        )
    for name, text in value.items():
        if name.startswith(RESERVED_PREFIX):
            raise ValidationError(_("Names that begin with TRAINHUB_ are reserved."))
        if not _VARIABLE.fullmatch(name) or "\x00" in text or len(text) > MAX_VALUE_LENGTH:
            raise ValidationError(
                _("Invalid environment variable %(name)s."), params={"name": repr(name[:80])}
            )
