"""Makes replies fit for a bug report: replaces what identifies the owner, and keeps everything else.

Bytes of replies come in, of all of a scrape before the first goes out: a user or a host that one of them
names is replaced in every one, by the same stand-in. Replies need not be JSON: what a firmware spoils must
stay spoilt.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Names of fields, in small letters, and what their values are.
KINDS = {
    "user": re.compile(r"(?:.*\W)?(?:user|worker|user ?name|wallet|account)[0-9]*"),
    "password": re.compile(r"pass|passwd|password|pwd|token|ssid"),
    "host": re.compile(r"(?:stratum |pool )?(?:url|host)[0-9]*|current pool|proxy|host ?name"),
    "address": re.compile(r"ip|ip ?addr(?:ess)?|netmask|gateway|bcastaddr|dns(?: ?servers)?"),
    "mac": re.compile(r"mac(?: ?addr(?:ess)?)?|.*_mac"),
    "serial": re.compile(r"(?:.*[ _])?sn|.*serial.*|dna|miner_?id|minersn"),
}
STAND_INS: dict[str, Callable[[int], str]] = {
    "user": "account{0}.rig{0}".format,
    "password": "password{0}".format,
    "host": "host{0}.example.net".format,
    "address": "192.0.2.{0}".format,
    "mac": lambda n: f"02:00:00:00:{n // 256 % 256:02x}:{n % 256:02x}",
    "serial": "SERIAL{0:08}".format,
}
PAIR = re.compile(r'"((?:[^"\\]|\\.){1,60})"(\s*:\s*)("(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*)')
BRACKETS = re.compile(r"\b([A-Za-z_]{2,12})(\[)([^\[\]]{1,100})(?=\])")  # Avalon's DNA[0201…] within a text
LINE = re.compile(r"(?<=[,|])([A-Za-z ]{2,20})(=)([^,|]+)")  # the API's text format
MAC = re.compile(r"(?i)(?<![0-9a-f:])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![0-9a-f:])")
ADDRESS = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])")
URL = re.compile(
    r"(?:(?<=://)|(?<=\A))(?:([^/@\s\"']*)@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?=[:/\s\"']|\Z)"
)
VERSION = re.compile(r".*(?:version|ver|miner|api|compile).*")  # "Miner": "30.0.1.3" is not an address
SHORT = 4  # characters: what is shorter is replaced where it stands only


class Redactor:
    """Replaces users, passwords, hosts, addresses and serials in replies; it learns them first."""

    def __init__(self) -> None:
        self._stand_ins: dict[tuple[str, str], str] = {}
        self._everywhere: dict[str, str] = {}

    def learn(self, reply: bytes) -> None:
        """Note a text that is to be replaced in all replies."""
        self._pairs(reply.decode("latin-1"))

    def clean(self, reply: bytes) -> bytes:
        """Return the reply with every stand-in in it; the same length of text is not kept."""
        text = self._pairs(reply.decode("latin-1"))
        if self._everywhere:
            longest_first = sorted(self._everywhere, key=len, reverse=True)
            secrets = "|".join(map(re.escape, longest_first))
            pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{secrets})(?![A-Za-z0-9])")
            text = pattern.sub(lambda match: self._everywhere[match[0]], text)
        text = MAC.sub(lambda match: self._stand_in("mac", match[0]), text)
        return text.encode("latin-1")

    def _pairs(self, text: str) -> str:
        for pattern in (PAIR, BRACKETS, LINE):
            text = pattern.sub(self._replace, text)
        return text

    def _replace(self, match: re.Match[str]) -> str:
        name, between, value = match.groups()
        kind = kind_of(name)
        quoted = value[:1] == '"' == value[-1:]
        inner = value[1:-1] if quoted else value
        if kind is None:
            known = VERSION.fullmatch(name.lower())
            new = inner if known else ADDRESS.sub(lambda each: self._stand_in("address", each[0]), inner)
        elif kind == "host":
            new = URL.sub(self._host, inner)
        else:
            new = self._stand_in(kind, inner) if inner.strip() else inner
        head = f'"{name}"' if match.re is PAIR else name
        quotes = '"' if quoted or (match.re is PAIR and kind and new != inner) else ""
        return f"{head}{between}{quotes}{new}{quotes}"

    def _host(self, match: re.Match[str]) -> str:
        host = self._stand_in("host", match[2])
        return f"{self._stand_in('user', match[1])}@{host}" if match[1] else host

    def _stand_in(self, kind: str, secret: str) -> str:
        if secret in self._stand_ins.values():
            return secret  # a stand-in already, as what is learned is cleaned again
        number = 1 + sum(1 for each, _ in self._stand_ins if each == kind)
        found = self._stand_ins.setdefault((kind, secret), STAND_INS[kind](number))
        parts = [secret, *re.split(r"[.:_]", secret)] if kind == "user" else [secret]
        for part in parts:
            if len(part) > SHORT and not part.replace(".", "").isdigit():
                self._everywhere.setdefault(part, found)
        return found


def kind_of(name: str) -> str | None:
    """Return what a field of this name has, if that is to be replaced."""
    lower = name.lower().strip()
    return next((kind for kind, pattern in KINDS.items() if pattern.fullmatch(lower)), None)
