"""Who may do what: the checks of a request in order: source address, Host, token, browser, command.

Comes in: a request's environ and the members of the API's request. Goes out: whether it is a report, or the
ChiError of the first rung that it fails. Policy is exact membership, and knows nothing of HTTP responses.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import re
import socket
from typing import Any

from chi.bounds import MAX_TOKEN, MIN_TOKEN
from chi.clock import CLOCK, Clock
from chi.converters import plain_address
from chi.errors import ChiError, quote
from chi.logs import RareWarning
from chi.miner.reports import REPORTS
from chi.settings import Settings

REPORT_MEMBERS = frozenset({"command", "parameter", "new_api"})
# Where a name can only be a host of the LAN: no public page can have it as its own (DNS rebinding).
LOCAL_DOMAINS = (".local", ".lan", ".home.arpa", ".internal", ".localhost")
RESOLVER = "/etc/resolv.conf"  # which domains the names of this network may be looked up in


class Policy:
    """Who may have what. The verdict depends on the request's bytes and the settings alone.

    `admit` and `judge` raise the ChiError of the first rung that a request fails; ValueError from the
    constructor says what is wrong with the token file.
    """

    def __init__(self, settings: Settings, clock: Clock = CLOCK) -> None:
        self._settings = settings
        self._reports = REPORTS.union(settings.report)
        self._own_name = socket.gethostname().lower()
        self._hosts = {
            "localhost",
            "localhost.localdomain",
            self._own_name,
            *(name.lower().rstrip(".") for name in settings.host),
        } - {""}
        self._token = read_token(settings.token_file) if settings.token_file else b""
        self._warn_of_token = RareWarning("wrong token from %s", clock)
        self._warn_of_source = RareWarning("refused a connection from %s, which is in no --allow", clock)

    @property
    def audience(self) -> str:
        """Who can reach chi, in words."""
        networks = ", ".join(map(str, self._settings.allow))
        return f"whoever reaches it from {networks}" if networks else "whoever reaches it"

    @property
    def exposure(self) -> str:
        """What a client may do, in words."""
        if self._settings.only_reports:
            with_token = ", with the token" if self._settings.private else ""
            return f"reports only ({self._settings.only_reports}){with_token}"
        if self._settings.private:
            return "everything, with the token"
        if self._token:
            return "reports, and every other command with the token"
        return "every command that the miner's API lets this host use (--read-only ends that)"

    @property
    def mode(self) -> str:
        """What clients may do beyond reports.

        "open": whatever the miner lets this host do; "token": the same with the token; "read-only": nothing.
        """
        if self._settings.only_reports:
            return "read-only"
        return "token" if self._token else "open"

    @property
    def is_open(self) -> bool:
        """Whether only the miner's API restricts privileged commands."""
        return self.mode == "open"

    def allows(self, address: str) -> bool:
        """The check before any byte is read: whether this address may connect (--allow)."""
        networks = self._settings.allow
        if not networks:
            return True
        source = plain_address(address)
        if any(source in network for network in networks):
            return True
        self._warn_of_source(address)
        return False

    def learn_name(self, name: object) -> None:
        """Add a name of this machine: its FQDN, whose lookup may take long."""
        if isinstance(name, str) and name:
            self._hosts.add(name.lower())

    def is_report(self, members: dict[str, Any]) -> bool:
        """Whether a request of the API only reports: each joined command does, and it says no more."""
        command, parameter = members.get("command"), members.get("parameter", "")
        if not isinstance(command, str) or not REPORT_MEMBERS.issuperset(members):
            return False
        plain = isinstance(parameter, (str, int, float)) and not isinstance(parameter, bool)
        plain = plain and isinstance(members.get("new_api", True), bool)
        return plain and self._reports.issuperset(command.split("+"))

    def admit(self, environ: dict[str, Any]) -> None:
        """The checks for every request: Host, and with --private the token."""
        for host in named_hosts(environ):
            if not self._is_ours(host):
                raise ChiError("host", host=quote(host), bare=host_name(host)[:60] or "NAME")
        if self._settings.private and environ["chi.path"] != "/healthz":
            self._check_token(environ)

    def judge(self, environ: dict[str, Any], members: dict[str, Any]) -> bool:
        """The checks for requests to the miner; return whether it is a report, which clients may share."""
        report = self.is_report(members)
        if self._token and not report:
            self._check_token(environ)
        if environ["REQUEST_METHOD"] == "POST":
            check_same_site(environ)
        command = quote(str(members.get("command", members.get("cmd", "an encrypted command"))))
        if self._settings.only_reports and not report:
            raise ChiError("read-only", command=command, option=self._settings.only_reports)
        if not report and environ["REQUEST_METHOD"] != "POST" and is_browser(environ):
            raise ChiError("confirm", command=command)
        return report

    def cors(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the headers that let a page of another origin read the response."""
        wanted = environ.get("HTTP_ORIGIN", "").lower()
        readable = environ["REQUEST_METHOD"] in ("GET", "HEAD")
        if not readable or wanted not in self._settings.cors_origin:
            return []
        return [("Access-Control-Allow-Origin", wanted), ("Vary", "Origin")]

    def preflight(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the headers that let a page of another origin ask, where it asks for leave to read."""
        if environ["REQUEST_METHOD"] != "OPTIONS":
            return []
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD", "")
        leave = self.cors({**environ, "REQUEST_METHOD": asked})
        if not leave:
            return []
        leave += [("Access-Control-Allow-Methods", "GET, HEAD"), ("Access-Control-Allow-Headers", "*")]
        if environ.get("HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK") == "true":  # a page of the Internet's
            leave.append(("Access-Control-Allow-Private-Network", "true"))
        return [*leave, ("Access-Control-Max-Age", "600")]

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        known = name in self._hosts or "*" in self._hosts or name.endswith(LOCAL_DOMAINS)
        if known or PLAIN_NAME.fullmatch(name) or is_literal(name):
            return True
        # Read each time: the network may have started after chi.
        return name in {f"{self._own_name}.{domain}" for domain in search_domains(RESOLVER)}

    def _check_token(self, environ: dict[str, Any]) -> None:
        given = environ.get("HTTP_AUTHORIZATION", "")
        if hmac.compare_digest(given_token(given), self._token):
            return
        if given:
            self._warn_of_token(environ["REMOTE_ADDR"])
        challenges = [("WWW-Authenticate", 'Bearer realm="chi"'), ("WWW-Authenticate", 'Basic realm="chi"')]
        raise ChiError("token", challenges)


PLAIN_NAME = re.compile(r"[a-z0-9_-]+")  # without a dot it is looked up in the LAN alone
HOST = re.compile(r"(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([a-z0-9._-]+))(?::[0-9]*)?", re.ASCII)


def search_domains(path: str) -> list[str]:
    """Return the domains in which the resolver looks names up (resolv.conf(5)): the last such line counts."""
    domains: list[str] = []
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file.read(1 << 16).splitlines():
            keyword, *words = line.split()[:17] or [""]
            if keyword in ("search", "domain"):
                domains = [word.lower().strip(".") for word in words]
    return [domain for domain in domains if domain]


def read_token(path: str) -> bytes:
    """Return the token in a file; ValueError says why it is not valid."""
    try:
        with open(path, "rb") as file:
            mode, token = os.fstat(file.fileno()).st_mode, file.read(MAX_TOKEN + 2).strip()
    except OSError as error:
        raise ValueError(error.strerror) from None
    if mode & 0o007:
        raise ValueError(f"others may read or write it (mode {mode & 0o777:04o}): chmod o= {path}")
    if not token:
        raise ValueError("it is empty")
    if len(token) < MIN_TOKEN:
        raise ValueError(f"its token has {len(token)} characters, fewer than {MIN_TOKEN}")
    if len(token) > MAX_TOKEN:
        raise ValueError(f"its token has more than {MAX_TOKEN} characters")
    if not re.fullmatch(rb"[!-~]+", token):
        raise ValueError("its token must be one word of printable ASCII, as HTTP headers can carry")
    return token


def given_token(authorization: str) -> bytes:
    """Return the token in an Authorization header, Bearer or the password of Basic; empty if none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return b""


def named_hosts(environ: dict[str, Any]) -> list[str]:
    """Return each host and port a request names: Host, and that of an absolute request target."""
    absolute = re.match(r"[a-z][a-z0-9+.-]*://([^/?#]*)", environ["REQUEST_URI"], re.IGNORECASE)
    hosts = [environ.get("HTTP_HOST", ""), absolute[1] if absolute else ""]
    return [host for host in hosts if host]


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case, bare of port and brackets; empty if it has none."""
    match = HOST.fullmatch(host.lower())
    return "" if match is None else (match[1] or match[2]).rstrip(".")


def is_literal(name: str) -> bool:
    """Whether a name is an IP address, which no page can have as its name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name.partition("%")[0])
            return True
        except (OSError, ValueError):
            continue
    return False


def is_browser(environ: dict[str, Any]) -> bool:
    """Whether the request may come from a web page, not from a program that the user started."""
    if environ.get("HTTP_USER_AGENT", "").startswith("Mozilla/"):
        return True
    return any(name in environ for name in ("HTTP_ORIGIN", "HTTP_REFERER")) or any(
        name.startswith("HTTP_SEC_FETCH_") for name in environ
    )


def check_same_site(environ: dict[str, Any]) -> None:
    """Refuse a POST that a browser sent for a page of another site."""
    host = environ.get("HTTP_HOST", "").lower()
    sender = environ.get("HTTP_ORIGIN") or environ.get("HTTP_REFERER")
    if sender is not None:
        scheme, _, rest = sender.lower().partition("://")
        port = {"http": ":80", "https": ":443"}.get(scheme, "")
        netloc = re.split("[/?#]", rest)[0]
        if not netloc or netloc.removesuffix(port) != host.removesuffix(port):
            raise ChiError("cross-site", origin=quote(sender), host=quote(host))
    if environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none"):
        raise ChiError("cross-site", origin="another site", host=quote(host))
