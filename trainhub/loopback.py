"""What only this machine reaches."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=256)  # asked at every request
def is_loopback_address(address: str) -> bool:
    """Whether ``address`` is an IP address of loopback, e.g. 127.0.0.1, ::1; names are not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)  # ::ffff:127.0.0.1, as a dual-stack socket says it
    return bool((mapped or ip).is_loopback)


def is_loopback_host(host: str) -> bool:
    """As above; also ``localhost`` and an IPv6 address in brackets, as hosts are configured."""
    return host.lower() == "localhost" or is_loopback_address(host.strip("[]"))
