"""Which hosts are this machine, to itself alone."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine's loopback; nothing is looked up.

    Args:
        host: A name such as "localhost" or "box.localhost" (RFC 6761), or an IP address without brackets.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # Python 3.10 does not look through ::ffff:127.0.0.1
    return (mapped or address).is_loopback


def is_loopback_url(url: str) -> bool:
    """Whether a URL leads to this machine's loopback, where no proxy leads.

    Raises:
        ValueError: It has a bracket without the other.
    """
    return is_loopback(urlsplit(url).hostname or "")
