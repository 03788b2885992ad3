"""Public identifiers: a short prefix and 12 random characters, e.g. ``proj_4k0wz81mt2qd``.

They are the primary keys, so a row has the same id in URLs, logs, object storage and joins.
"""

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from django.core.validators import RegexValidator
from django.db import models

# Crockford's base 32, lowercase: no i, l, o or u, so ids can be read aloud without confusion.
# https://www.crockford.com/base32.html
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
RANDOM_LENGTH = 12  # 60 bits: the odds of a collision among a million rows are 1 in two million
MAX_LENGTH = 32

# What URLs accept as an id. Looser than the ids we generate, so an unknown id reaches the view and
# gets its 404; strict enough that no NUL byte reaches PostgreSQL.
ID_PATTERN = r"[A-Za-z0-9_\-]{1,64}"


if TYPE_CHECKING:
    TextField = models.CharField[str, str]  # generic only for the type checker
else:
    TextField = models.CharField


def new_id(prefix: str) -> str:
    """A fresh id, e.g. ``new_id("run")`` -> ``run_7zkq0t2m9x4b``."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))


def derived_id(prefix: str, *parts: str) -> str:
    """The id of the one row that is made from ``parts``: always the same."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    number = int.from_bytes(digest)
    characters = (ALPHABET[number >> 5 * place & 31] for place in range(RANDOM_LENGTH))
    return f"{prefix}_" + "".join(characters)


class PublicIdField(TextField):
    """A primary key that defaults to ``new_id(prefix)``.

    Omit ``prefix`` where it depends on the row (an artifact's type): the model then sets the id.
    """

    def __init__(self, *args: Any, prefix: str = "", **kwargs: Any) -> None:
        self.prefix = prefix
        kwargs["max_length"] = MAX_LENGTH
        kwargs.setdefault("primary_key", True)  # False in history tables
        kwargs["editable"] = False
        # Ids are never sorted for display, and byte order makes their indexes cheaper.
        kwargs["db_collation"] = "C"
        kwargs["validators"] = [RegexValidator(rf"\A{ID_PATTERN}\Z")]
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        for key in ("max_length", "primary_key", "editable", "db_collation", "validators"):
            kwargs.pop(key, None)
        if not self.primary_key:
            kwargs["primary_key"] = False
        if self.prefix:
            kwargs["prefix"] = self.prefix
        return name, path, args, kwargs

    def get_default(self) -> Any:
        return new_id(self.prefix) if self.prefix else super().get_default()
