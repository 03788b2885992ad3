"""Shared field types of registry requests, and registry rows as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from django.contrib.auth.models import User

from core.text import MAX_KEY_LENGTH
from core.times import milliseconds
from registry.models import ModelVersion, RegisteredModel

WITHOUT_NUL = r"\A[^\x00]*\Z"  # PostgreSQL cannot store it
Text = Annotated[str, msgspec.Meta(max_length=100_000, pattern=WITHOUT_NUL)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=WITHOUT_NUL)]
LongName = Annotated[str, msgspec.Meta(max_length=500, pattern=WITHOUT_NUL)]
Id = Annotated[str, msgspec.Meta(max_length=64, pattern=WITHOUT_NUL)]
Digest = Annotated[str, msgspec.Meta(max_length=250, pattern=WITHOUT_NUL)]
Number = Annotated[str, msgspec.Meta(max_length=10)]  # of a version
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_LENGTH, pattern=WITHOUT_NUL)]
Address = Annotated[str, msgspec.Meta(max_length=2000, pattern=WITHOUT_NUL)]


class Pair(msgspec.Struct):
    key: Key
    value: Text = ""


def as_dict(pairs: Iterable[Pair]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}


def as_pairs(texts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in texts.items()]


def registered_model_json(model: RegisteredModel, latest: Iterable[ModelVersion]) -> dict[str, Any]:
    """``latest``: the newest version in each stage."""
    return {
        "name": model.name,
        "creation_timestamp": milliseconds(model.created_at),
        "last_updated_timestamp": milliseconds(model.updated_at),
        "user_id": _username(model.created_by),
        "description": model.description,
        "latest_versions": [version_json(version, model) for version in latest],
        "tags": as_pairs(model.tags),
        "aliases": [
            {"alias": alias.alias, "version": str(alias.version.number)}
            for alias in model.aliases.all()
        ],
    }


def version_json(version: ModelVersion, model: RegisteredModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": str(version.number),
        "creation_timestamp": milliseconds(version.created_at),
        "last_updated_timestamp": milliseconds(version.updated_at),
        "user_id": _username(version.created_by),
        "current_stage": version.stage,
        "description": version.description,
        "source": version.source,
        "run_id": version.run_id or version.run_elsewhere,
        "run_link": version.run_link,
        "model_id": version.logged_model_id or "",
        "status": "READY",  # never pending: files are not copied
        "tags": as_pairs(version.tags),
        "aliases": [alias.alias for alias in version.aliases.all()],
    }


def _username(user: User | None) -> str:
    return user.get_username() if user else ""
