"""A POST to a receiver that somebody has named: never into our own network.

The name is resolved once, each of its addresses is checked, and the connection goes to one of those
that were: a name that resolves differently a moment later (DNS rebinding) leads nowhere else.
Redirects are not followed, proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.text import storable

CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 15.0
MAX_ANSWER: Final = 2_000  # bytes that are kept
LEAST_SECRET: Final = 8  # characters of an address that are not repeated
PORTS: Final = {"http": 80, "https": 443}
# Of IPv6, the rest is reserved, or leads to networks of one's own: NAT64 of one's own (RFC 8215),
# addresses in SIIT and "compatible" notation, site-local ones. Not all of it is private in Python.
GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


class Failed(Exception):
    """There was no answer; the text says why."""


class Answer(NamedTuple):
    status: int
    text: str

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


def check_url(url: str) -> SplitResult:
    """Raises InvalidInput."""
    try:
        parts = urlsplit(url)
        is_known = parts.scheme in PORTS and bool(parts.hostname) and (parts.port or 1) > 0
        (parts.hostname or "").encode(
            "idna"
        )  # as the resolver does: labels have 1 to 63 characters
    except ValueError:
        is_known = False
    if not is_known or not all("!" <= character <= "~" for character in url):
        raise InvalidInput(_("Enter an address such as https://example.org/hook."), attr="address")
    if parts.username or parts.password:
        raise InvalidInput(_("The address must have no user or password."), attr="address")
    return parts


def check_entered(url: str) -> None:
    """``check_url`` for one that somebody enters: also without a private address in it.

    Names are not resolved here, but at each attempt: what they resolve to changes. Raises
    InvalidInput.
    """
    host = (check_url(url).hostname or "").rstrip(".")
    if settings.WEBHOOK_PRIVATE_ADDRESSES:
        return
    # Names that are always loopback (RFC 6761 §6.3).
    is_private = host == "localhost" or host.endswith(".localhost")
    with suppress(OSError):  # it is a name
        # Any way to write a number that the resolver takes: 127.1, 0x7f.1, 2130706433. Without the
        # zone of fe80::1%25eth0, which it takes only if there is such an interface here.
        number = host.partition("%")[0]
        found = socket.getaddrinfo(number, None, flags=socket.AI_NUMERICHOST)
        is_private = any(not _is_public(str(entry[4][0])) for entry in found)
    if is_private:
        raise InvalidInput(
            _("Private addresses are not allowed: %(host)s.") % {"host": host}, attr="address"
        )


def allowed_addresses(host: str, port: int) -> list[str]:
    """The addresses of ``host``. Raises Failed if it has none, or one that is not to be used."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failed(f"{host}: {error.strerror or error}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not settings.WEBHOOK_PRIVATE_ADDRESSES:
        for address in addresses:
            if not _is_public(address):
                # Not which: maintainers would read the names of our network.
                raise Failed(f"{host} has a private address, which is not allowed.")
    return addresses


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # Those that lead to an IPv4 address: mapped, 6to4, and NAT64.
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
        if ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


class _Connection(http.client.HTTPConnection):
    """To ``address``, whatever its host's name resolves to by now."""

    def __init__(self, parts: SplitResult, address: str) -> None:
        super().__init__(parts.hostname or "", parts.port or PORTS[parts.scheme])
        self.timeout = CONNECT_SECONDS
        self._address = address
        self._is_secure = parts.scheme == "https"

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), CONNECT_SECONDS)
        if self._is_secure:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Raises Failed. Takes at most TOTAL_SECONDS, besides resolving the name."""
    parts = check_url(url)
    port = parts.port or PORTS[parts.scheme]
    addresses = allowed_addresses(parts.hostname or "", port)
    connection = _Connection(parts, addresses[0])
    # A timeout is of each step: a receiver that sends a byte a second would hold a thread for long.
    deadline = threading.Timer(TOTAL_SECONDS, _cut_off, [connection])
    deadline.daemon = True
    deadline.start()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body, {"User-Agent": "TrainHub", **headers})
        response = connection.getresponse()
        content = response.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{type(error).__name__}: {error}") from None
    finally:
        deadline.cancel()
        connection.close()
    text = storable(content.decode(errors="replace"))
    return Answer(response.status, _without_address(text, parts))


def _without_address(text: str, parts: SplitResult) -> str:
    """Errors of web servers repeat what was asked for: in the URLs of chats, a secret."""
    values = [value for _name, value in parse_qsl(parts.query)]
    for secret in (parts.path.strip("/"), *values):
        if len(secret) >= LEAST_SECRET:
            text = text.replace(secret, "…")
    return text


def _cut_off(connection: _Connection) -> None:
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
