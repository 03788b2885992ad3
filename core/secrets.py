"""Secrets that are stored: encrypted with a key that is derived from SECRET_KEY.

Fernet (https://github.com/fernet/spec): AES-128-CBC with HMAC-SHA256. What was encrypted with one
of SECRET_KEY_FALLBACKS is still read; ``manage.py rotate_secrets`` encrypts it with SECRET_KEY.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes
from django.utils.translation import gettext as _

from core.exceptions import DomainError


class Unreadable(DomainError):
    """Encrypted with another SECRET_KEY, or damaged."""

    code = "secret_unreadable"


def encrypt(text: str) -> str:
    return _fernet().encrypt(text.encode()).decode()


def decrypt(encrypted: str) -> str:
    """Raises Unreadable."""
    try:
        return _fernet().decrypt(encrypted.encode()).decode()
    except InvalidToken:
        raise Unreadable(
            _("The secret cannot be read: SECRET_KEY has changed. Enter it again.")
        ) from None


def encrypt_again(encrypted: str) -> str:
    """The same secret, encrypted with SECRET_KEY. Raises Unreadable."""
    return encrypt(decrypt(encrypted))


def is_current(encrypted: str) -> bool:
    """Whether SECRET_KEY alone reads it, without SECRET_KEY_FALLBACKS."""
    try:
        Fernet(_key_of(settings.SECRET_KEY)).decrypt(encrypted.encode())
    except InvalidToken:
        return False
    return True


def _fernet() -> MultiFernet:
    return MultiFernet(
        [Fernet(_key_of(key)) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    )


def _key_of(secret_key: str | bytes) -> bytes:
    """Of its own purpose: it tells nothing about what else is derived from SECRET_KEY."""
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"trainhub.core.secrets")
    return base64.urlsafe_b64encode(derivation.derive(force_bytes(secret_key)))
