"""Secrets are stored encrypted, and read with earlier keys, too."""

import pytest

from core.secrets import Unreadable, decrypt, encrypt


def test_what_was_encrypted_is_read_again():
    assert decrypt(encrypt("hf_秘密")) == "hf_秘密"
    assert "hf_" not in encrypt("hf_秘密")


def test_key_can_be_changed(settings):
    settings.SECRET_KEY = "first"
    stored = encrypt("a")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second", ["first"]

    assert decrypt(stored) == "a"


def test_with_another_key_it_is_a_clear_error(settings):
    stored = encrypt("a")
    settings.SECRET_KEY = "another"

    with pytest.raises(Unreadable):
        decrypt(stored)
