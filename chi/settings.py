"""What the command line sets: every option once, with its default, its bounds and their reason.

Comes in: the text of options. Goes out: Settings, or argparse.ArgumentTypeError with what is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
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


def option(names: str, default: Any, **keywords: Any) -> Any:
    """Return a field of Settings that is also an option; `keywords` are argparse's."""
    return dataclasses.field(default=default, metadata={"names": names.split(), **keywords})


PORT, SOME_PORT = number(int, 0, 65535, "a port"), number(int, 1, 65535, "a port")
SECONDS = "a number of seconds"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line sets; durations are in seconds."""

    # The original's three, in its words.
    http_port: int = option(
        "-w --http_port --http-port", 8080, type=PORT, help="Port to use for http server; 0 takes a free one"
    )
    api_port: int = option("-p --api_port --api-port", 4028, type=SOME_PORT, help="Port used by API server")
    # A literal: "localhost" must be looked up, and may be ::1, where no miner listens.
    api_host: str = option(
        "-a --api_host --api-host", "127.0.0.1", type=host_or_address,
        help="Host name/address used by API server",
    )  # fmt: skip
    listen: tuple[str, ...] = option(
        "--listen", (), metavar="ADDRESS", type=filled, action="append",
        help="Address or host name to serve on, may be given again (default: every interface)",
    )  # fmt: skip
    allow: tuple[Network, ...] = option(
        "--allow", (), metavar="NETWORK", type=network, action="append",
        help="Let this address or network, such as 192.168.0.0/16, connect and no other, may be given again",
    )  # fmt: skip
    protocol: str = option(
        "--protocol", "auto", choices=("auto", "json", "text"),
        help="What the miner speaks: cpuminer, ccminer and their forks speak only text",
    )  # fmt: skip
    # Below the 5 s that Telegraf and others wait.
    timeout: float = option(
        "--timeout", 4.0, metavar="SECONDS", type=number(float, 0.1, 3600, SECONDS),
        help="Time from a request's arrival to its answer",
    )  # fmt: skip
    # The C miners serve one request at a time: more than a few at once only queue there.
    threads: int = option(
        "--threads", 4, metavar="N", type=number(int, 1, 64, "a number"),
        help="Requests to the miner at once",
    )  # fmt: skip
    max_age: float = option(
        "--max-age", 0.0, metavar="SECONDS", type=number(float, 0, 3600, SECONDS),
        help="Give a report again for so long; 0 always asks the miner",
    )  # fmt: skip
    history: int = option(
        "--history", 60, metavar="MINUTES", type=number(int, 0, 1440, "a number of minutes"),
        help="Keep so much for the plots of /dashboard, asking the miner every 15 s; 0 keeps nothing",
    )  # fmt: skip
    read_only: bool = option("--read-only", False, action="store_true", help="Forward only reports")
    # How the packages start chi: whatever is lost of a configuration, what is left opens nothing.
    service: bool = option(
        "--service", False, action="store_true",
        help="Forward only reports as well, unless --token-file or --open is given",
    )  # fmt: skip
    open: bool = option(
        "--open", False, action="store_true", help="Forward everything; without --service this is the default"
    )
    report: tuple[str, ...] = option(
        "--report", (), metavar="NAME", type=word, action="append",
        help="Take this command of the miner for a report as well, may be given again",
    )  # fmt: skip
    token_file: str = option(
        "--token-file", "", metavar="FILE", type=filled,
        help="Forward what is no report only with the token in this file (16 characters or more)",
    )  # fmt: skip
    private: bool = option(
        "--private", False, action="store_true", help="Answer nothing but /healthz without the token"
    )
    host: tuple[str, ...] = option(
        "--host", (), metavar="NAME", type=word_or_any, action="append",
        help="Name by which clients may call this server, may be given again; * is any",
    )  # fmt: skip
    cors_origin: tuple[str, ...] = option(
        "--cors-origin", (), metavar="ORIGIN", type=origin, action="append",
        help="Let pages of this origin, such as http://grafana.lan:3000, read reports, may be given again",
    )  # fmt: skip
    metrics_pool_user: bool = option(
        "--metrics-pool-user", False, action="store_true",
        help="Show the users of pools, often wallets, in /metrics and /status.json",
    )  # fmt: skip
    log_level: str = option(
        "--log-level", "info", choices=("debug", "info", "warning", "error"),
        help="Least level that is logged, to standard error",
    )  # fmt: skip
    access_log: bool = option("--access-log", False, action="store_true", help="Log each request as well")

    @property
    def only_reports(self) -> str:
        """The option by which only reports are forwarded; empty if other commands are."""
        if self.read_only:
            return "--read-only"
        return "--service" if self.service and not self.token_file and not self.open else ""

    @property
    def serving_on(self) -> str:
        """Where chi listens, in words."""
        return f"port {self.http_port} of {', '.join(self.listen) or 'every interface'}"


# Options that contradict each other, and why.
CONTRADICTIONS: tuple[tuple[Callable[[Settings], bool], str], ...] = (
    (lambda it: it.private and not it.token_file, "--private needs --token-file"),
    (
        lambda it: it.read_only and bool(it.token_file) and not it.private,
        "--token-file has no use beside --read-only, unless --private is given as well",
    ),
    (lambda it: it.open and it.read_only, "--open and --read-only contradict each other"),
    (lambda it: it.open and bool(it.token_file), "--open and --token-file contradict each other"),
    (
        lambda it: it.private and bool(it.cors_origin),
        "--cors-origin has no use beside --private: pages of other origins cannot send the token",
    ),
)
