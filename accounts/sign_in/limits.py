"""Limits of wrong passwords, by account and address. Checked before a password is hashed, since
hashing is what guessing costs the server.

An attempt is counted before its password is checked, and given back if it was right: so attempts at
the same time cannot pass together. See docs/sign-in.md and docs/adr/0034-sign-in.md.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar, Final

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from accounts.sign_in import allowances
from accounts.sign_in.allowances import Limit
from core.exceptions import DomainError

# Of an account from one address: what someone gets who has forgotten the password.
ACCOUNT_AND_ADDRESS: Final = Limit("account+address", burst=5, seconds=60)
# Of an address with all accounts, and of an account from all addresses. Neither is applied to an
# address from which the account has signed in before: nobody elsewhere can lock its owner out.
ADDRESS: Final = Limit("address", burst=15, seconds=30)
ACCOUNT: Final = Limit("account", burst=30, seconds=300)
KNOWN: Final = "known"
KNOWN_FOR: Final = timedelta(days=90)  # since the last sign-in from there

RESETS_OF_ADDRESS: Final = Limit("resets/address", burst=10, seconds=60)
RESETS_OF_EMAIL: Final = Limit("resets/email", burst=3, seconds=600)

IPV6_SITE: Final = 64  # bits that one customer of a provider has the rest of (RFC 6177)


WRONG_PASSWORDS: Final = ngettext_lazy(
    "Too many wrong passwords. Try again in %(minutes)d minute.",
    "Too many wrong passwords. Try again in %(minutes)d minutes.",
    "minutes",
)


class TooManyAttempts(DomainError):
    """The next attempt is refused until ``retry_seconds`` have passed."""

    code: ClassVar[str] = "too_many_attempts"
    status_code: ClassVar[int] = 429

    def __init__(self, wait: float, text: Promise = WRONG_PASSWORDS) -> None:
        self.retry_seconds = math.ceil(max(1.0, wait))
        super().__init__(text % {"minutes": math.ceil(self.retry_seconds / 60)})


class TooManyAtOnce(TooManyAttempts):
    """So many passwords wait to be hashed that this one is not: it does not count."""

    def __init__(self) -> None:
        super().__init__(3, _("Too many people sign in at once. Try again in a few seconds."))


def address_of(request: HttpRequest | None) -> str:
    """Of the client, as the limits know it: of IPv6 the first 64 bits. Empty if there is none."""
    text = "" if request is None else request.META.get("REMOTE_ADDR", "")
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, IPV6_SITE), strict=False))


def key_of(name: str, *parts: str) -> str:
    """Of a row. Not the name itself: people type passwords into the field for names."""
    text = "\0".join([name, *(part.casefold() for part in parts)])
    return salted_hmac("accounts.sign_in", text, algorithm="sha256").hexdigest()


@contextmanager
def counted_attempt(account: str, address: str) -> Iterator[Attempt]:
    """Count an attempt to tell the password of ``account``, unless ``succeed`` of it is called.

    Raises TooManyAttempts.
    """
    attempt = Attempt(account, address)
    attempt.begin()
    try:
        yield attempt
    except TooManyAtOnce:
        attempt.give_back()
        raise
    if attempt.succeeded:
        attempt.give_back()


class Attempt:
    def __init__(self, account: str, address: str) -> None:
        self.succeeded = False
        self._known = key_of(KNOWN, account, address)
        self._pair = key_of(ACCOUNT_AND_ADDRESS.name, account, address)
        # In the order in which rows are locked, always the same.
        self._limits = {key_of(ACCOUNT.name, account): ACCOUNT}
        if address:
            by_address = {key_of(ADDRESS.name, address): ADDRESS, self._pair: ACCOUNT_AND_ADDRESS}
            self._limits = {**by_address, **self._limits}

    def succeed(self) -> None:
        self.succeeded = True

    def check(self) -> None:
        """Raises TooManyAttempts if the next attempt is refused. Counts nothing."""
        used = allowances.seconds_left([*self._limits, self._known])
        if self._known in used:
            self._limits = {self._pair: ACCOUNT_AND_ADDRESS}
        wait = self._wait(used)
        if wait > 0:
            raise TooManyAttempts(wait)

    def begin(self) -> None:
        self.check()  # without a lock or a write: most attempts of a guesser end here
        with transaction.atomic():
            for key, limit in self._limits.items():
                if not allowances.take(key, limit):
                    raise TooManyAttempts(self._wait(allowances.seconds_left(list(self._limits))))
        allowances.prune()

    def give_back(self) -> None:
        for key, limit in self._limits.items():
            allowances.give_back(key, limit)

    def _wait(self, used: Mapping[str, float]) -> float:
        """The seconds until no limit is in the way."""
        return max(
            allowances.wait_of(limit, used.get(key, 0.0)) for key, limit in self._limits.items()
        )


def remember(account: str, address: str) -> None:
    """``account`` has signed in from there, in whatever way."""
    if address:
        allowances.keep(key_of(KNOWN, account, address), timezone.now() + KNOWN_FOR)


def count_reset(address: str, email: str) -> bool:
    """Count a request to reset a password; False if ``email`` has been sent enough of them.

    Raises TooManyAttempts if there are too many from ``address``.
    """
    by_address = key_of(RESETS_OF_ADDRESS.name, address)
    if not allowances.take(by_address, RESETS_OF_ADDRESS):
        used = allowances.seconds_left([by_address]).get(by_address, 0.0)
        raise TooManyAttempts(
            allowances.wait_of(RESETS_OF_ADDRESS, used),
            _("Too many requests. Try again in %(minutes)d minutes."),
        )
    return allowances.take(key_of(RESETS_OF_EMAIL.name, email), RESETS_OF_EMAIL)
