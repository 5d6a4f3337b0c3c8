"""Converters from the text of an option to its value (argparse's `type`).

Comes in: a text of the command line or of a file. Goes out: a value, or argparse.ArgumentTypeError with what
is wrong. Nothing is looked up here.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import socket
from collections.abc import Callable
from typing import Any

# int() and float() take more: 8_080, 1e3, 010, other scripts' digits, nan.
NUMERAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # of a host name
OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"


def number(kind: type, low: float, high: float, what: str) -> Callable[[str], Any]:
    """Return a converter for argparse: text to a `kind` within bounds."""

    def convert(text: str) -> Any:
        try:
            value = kind(text) if NUMERAL.fullmatch(text) else None
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} from {low:g} to {high:g}")
        return value

    return convert


def filled(text: str) -> str:
    """Convert for argparse a text that must not be empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def word(text: str) -> str:
    """Convert for argparse a name of a command or a host: without a port, a path or a +."""
    if not re.fullmatch(r"[\w.-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a single name")
    return text


def word_or_any(text: str) -> str:
    """Convert for argparse a name, or * for any."""
    return text if text == "*" else word(text)


def host_or_address(text: str) -> str:
    """Convert for argparse a host name or an IP address; IPv6 with or without a zone, without brackets."""
    with_port = re.fullmatch(r"([^:]+|\[.*\]):([0-9]+)", text)
    if with_port:
        name, port = with_port[1].strip("[]"), with_port[2]
        raise argparse.ArgumentTypeError(f"{text!r} has a port, which goes to -p: -a {name} -p {port}")
    if not (is_ip6(text) if ":" in text else is_ip4(text) or is_name(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name or an IP address")
    return text


def is_name(text: str) -> bool:
    """Whether a text is a host name; what ends in a number can be nothing but an address."""
    ends_in_number = re.fullmatch(r"(.*\.)?[0-9]+\.?", text)
    return len(text) <= 253 and not ends_in_number and bool(re.fullmatch(rf"({LABEL}\.)*{LABEL}\.?", text))


def is_ip4(text: str) -> bool:
    """Whether a text is an IPv4 address, as everybody writes it."""
    return bool(re.fullmatch(rf"({OCTET}\.){{3}}{OCTET}", text))


def is_ip6(text: str) -> bool:
    """Whether a text is an IPv6 address, with a zone (fe80::1%eth0) or without."""
    address, percent, zone = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return False
    return not percent or bool(re.fullmatch(r"[\w.-]+", zone, re.ASCII))


def origin(text: str) -> str:
    """Convert for argparse an origin (RFC 6454) to what browsers send: without a default port."""
    if not re.fullmatch(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin such as http://grafana.lan:3000")
    return re.sub(r"^(http(?=:.*:80$)|https(?=:.*:443$))(.*):[0-9]+$", r"\1\2", text.lower())


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def plain_address(text: str) -> Address:
    """Return an address without zone, and as IPv4 if it is IPv4 in IPv6 (::ffff:192.0.2.1); ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def network(text: str) -> Network:
    """Convert for argparse an address or a network (CIDR), in the form of plain_address()."""
    host, slash, length = text.partition("/")
    try:
        if slash and not re.fullmatch("0|[1-9][0-9]{0,2}", length):
            raise ValueError("not CIDR")
        found = ipaddress.ip_network(host.partition("%")[0] + slash + length, strict=False)
        plain = plain_address(host)
        if plain.version < found.version and found.prefixlen >= 96:  # ::ffff:0:0/96 holds all of IPv4
            found = ipaddress.ip_network((int(plain), found.prefixlen - 96), strict=False)
        return found
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address, nor a network such as 192.168.0.0/16"
        ) from None


PORT, SOME_PORT = number(int, 0, 65535, "a port"), number(int, 1, 65535, "a port")
SECONDS = "a number of seconds"
