"""A tool: a function of the caller and of checked arguments, with what agents are told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any, ClassVar, TypeVar, get_type_hints

import msgspec
from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from accounts.permissions import refusal_of_scope
from accounts.roles import Role
from agents.answers import Answer
from agents.rest import Rest
from core.exceptions import DomainError, InvalidInput
from core.msgspec_errors import invalid
from core.numbers import MAX_BIGINT, MIN_BIGINT
from core.text import UNSTORABLE
from projects.models import Project

Given = TypeVar("Given", bound="Arguments")


class NotAllowed(DomainError):
    """The credentials do not allow the tool."""

    code: ClassVar[str] = "permission_denied"
    status_code: ClassVar[int] = 403


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the arguments of tools: their JSON schema is made of it."""


@dataclass(frozen=True)
class Caller:
    """Who calls. Reading tools ask for what is visible to ``user``; others call ``rest``."""

    user: User
    rest: Rest

    @cached_property
    def may_write(self) -> bool:
        """Whether the caller is a member of any project, and the token may write there."""
        return Project.objects.visible_to(self.user, role=Role.MEMBER).exists()


@dataclass(frozen=True)
class Tool:
    """``writes``: it is only for credentials that may write. ``is_destructive``: it ends or
    replaces something; ``is_idempotent``: a second call changes nothing."""

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    function: Callable[[Caller, Any], Answer]
    writes: bool = False
    is_destructive: bool = False
    is_idempotent: bool = False

    def is_for(self, caller: Caller) -> bool:
        return not self.writes or caller.may_write

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Of its arguments, as JSON Schema 2020-12."""
        _refs, schemas = msgspec.json.schema_components([self.arguments])
        schema: dict[str, Any] = schemas[self.arguments.__name__]
        schema.pop("title", None)
        schema.pop("description", None)
        return schema

    def call(self, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
        """Raises DomainError, Http404, APIException."""
        if not self.is_for(caller):
            raise NotAllowed(refusal_of_scope())
        return self.function(caller, self.parsed(given)).fitted()

    def parsed(self, given: dict[str, Any]) -> Arguments:
        """Raises InvalidInput, which names the argument."""
        known = self.arguments.__struct_fields__
        for name in given:
            if name not in known:
                listed = ", ".join(known)
                message = _("Unknown argument: %(name)s. Known: %(known)s.")
                raise InvalidInput(message % {"name": ascii(name)[:80], "known": listed or "-"})
        _check_storable(given)
        try:
            return msgspec.convert(given, self.arguments)
        except msgspec.ValidationError as error:
            raise invalid(error) from None


def _check_storable(given: Any, name: str = "") -> None:
    """Raises InvalidInput for a text or number that cannot be stored: the SDK's JSON has NaN and
    integers of any length."""
    if isinstance(given, str) and UNSTORABLE.search(given):
        raise InvalidInput(_("It contains characters that are not allowed."), attr=name or None)
    if isinstance(given, float) and not isfinite(given):
        raise InvalidInput(_("It contains a number that is not finite."), attr=name or None)
    if isinstance(given, int) and not MIN_BIGINT <= given <= MAX_BIGINT:
        raise InvalidInput(_("The number is too large."), attr=name or None)
    if isinstance(given, dict):
        for key, value in given.items():
            _check_storable(key, name)
            _check_storable(value, name or key)
    elif isinstance(given, list):
        for value in given:
            _check_storable(value, name)


TOOLS: dict[str, Tool] = {}


def tool(
    title: str, *, writes: bool = False, is_destructive: bool = False, is_idempotent: bool = False
) -> Callable[[Callable[[Caller, Given], Answer]], Callable[[Caller, Given], Answer]]:
    """Register a function as the tool of its name. Its docstring is what agents read of it."""

    def register(function: Callable[[Caller, Given], Answer]) -> Callable[[Caller, Given], Answer]:
        TOOLS[function.__name__] = Tool(
            name=function.__name__,
            title=title,
            description=" ".join((function.__doc__ or "").split()),
            arguments=get_type_hints(function)["given"],
            function=function,
            writes=writes,
            is_destructive=is_destructive,
            is_idempotent=is_idempotent,
        )
        return function

    return register
