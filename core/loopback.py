"""Checks for loopback addresses and host names."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=256)  # called on every request
def is_loopback_address(address: str) -> bool:
    """Whether ``address`` is a loopback IP address, e.g. 127.0.0.1 or ::1. Names are not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)  # ::ffff:127.0.0.1, from a dual-stack socket
    return bool((mapped or ip).is_loopback)


def is_loopback_host(host: str) -> bool:
    """Like is_loopback_address, but also accepts ``localhost`` and bracketed IPv6 addresses."""
    return host.lower() == "localhost" or is_loopback_address(host.strip("[]"))
