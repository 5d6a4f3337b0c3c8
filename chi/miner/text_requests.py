"""Converts a CGMiner API request to the requests of a miner that speaks only text (cpuminer, ccminer).

Comes in: a judged request of the API, and the miner's replies so far. Goes out: the next request in the
miner's own form, `word` or `word|parameter`, or None once all that is needed is there; or ChiError, and
nothing is sent. Never opens a connection, and never sends what such miners cannot bear:

- They read a request with one recv() of 1,024 bytes, and end it with a NUL of their own.
- A number goes through atoi(): one that is negative, or becomes so as it is too large, reads out of bounds.
- `seturl` without a URL, or with one that has another scheme or no host, ends cpuminer.
- `GET /` anywhere makes a request one of HTTP: another command, copied into 256 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from chi.errors import ChiError

MAX_TEXT_REQUEST = 1023  # bytes
MAX_POOLS = 8  # what ccminer can hold
SUMMARY = b"summary"  # what every such miner knows: by its reply it is recognised

# Commands of these miners, and what their parameter is: nothing, a number that may be left out, or a text.
NONE, NUMBER, TEXT = "none", "number", "text"
REPORTS = {
    "summary": NONE, "threads": NONE, "pool": NUMBER, "histo": NUMBER, "hwinfo": NONE, "meminfo": NONE,
    "scanlog": NUMBER, "help": NONE,
}  # fmt: skip
WRITES = {"switchpool": NUMBER, "seturl": TEXT, "quit": NONE}
NATIVE = REPORTS | WRITES
# The API's own commands, and the reports that they are composed of.
COMPOSED = {
    "version": ("summary",),
    "config": ("summary",),
    "coin": ("summary",),
    "devs": ("threads",),
    "stats": ("summary", "threads"),
    "pools": ("summary", "pool"),
}

Replies = Mapping[bytes, "bytes | None"]  # request to reply, without its NUL; None: closed without a byte

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)  # always below 2**31
FORBIDDEN = re.compile(r"[|\x00-\x1f\x7f\ud800-\udfff]")  # a lone surrogate cannot be sent
SCHEMES = frozenset({"http", "https", "stratum+tcp", "stratum+tcps", "stratum+ssl", "stratum+tls"})


class Plan(NamedTuple):
    """A request of the API: its commands, whether they are joined (a+b), and what a lone one is sent as."""

    commands: tuple[str, ...]
    joined: bool
    request: bytes


def read_request(members: Mapping[str, Any]) -> Plan:
    """Return what a request of the API asks for; ChiError if a text miner must not be sent such a thing."""
    command, parameter = members.get("command"), members.get("parameter")
    if not isinstance(command, str):
        raise _bad("it has no command")
    # What the API drops as well.
    plain = isinstance(parameter, (str, int, float)) and not isinstance(parameter, bool)
    text = str(parameter) if plain else ""
    if FORBIDDEN.search(text) or "GET /" in text:
        raise _bad("its parameter holds |, a control character or GET /")
    commands = tuple(dict.fromkeys(name for name in command.split("+") if name))
    for name in commands:
        if not WORD.fullmatch(name):
            raise _bad("a command is one word")
    if "+" in command or not commands:
        return Plan(commands, True, b"")
    return Plan(commands, False, _encode(commands[0], text))


def _encode(command: str, parameter: str) -> bytes:
    kind = NATIVE.get(command, NONE if command in COMPOSED else TEXT)
    if command == "seturl" and not _is_url(parameter):
        raise _bad("seturl needs a URL, such as stratum+tcp://user:password@host:3333")
    if kind is NUMBER and parameter and not DIGITS.fullmatch(parameter):
        raise _bad(f"the parameter of {command} is a number from 0 to 999999999")
    text = f"{command}|{parameter}" if parameter and kind is not NONE else command
    request = text.encode("utf-8")
    if len(request) > MAX_TEXT_REQUEST:
        raise ChiError("request-too-large", size=len(request), limit=MAX_TEXT_REQUEST)
    return request


def _is_url(text: str) -> bool:
    """Whether cpuminer takes `text` for the URL of a pool: [scheme://][user:password@]host…"""
    scheme, divider, rest = text.partition("://")
    host = (rest if divider else text).rpartition("@")[2]
    known = not divider or scheme.lower() in SCHEMES
    return known and re.match(r"[^/:]", host) is not None and not re.search(r"\s", text)


def _bad(why: str) -> ChiError:
    return ChiError("bad-text-request", why=why)


def next_request(plan: Plan, replies: Replies) -> bytes | None:
    """Return what the miner is asked next, None if nothing is missing."""
    return next((request for request in _needed(plan, replies) if request not in replies), None)


def _needed(plan: Plan, replies: Replies) -> list[bytes]:
    needed: dict[bytes, None] = {}
    for command in plan.commands:
        for name in COMPOSED.get(command, (command,)):
            if name == "pool" and command == "pools":
                needed.update(dict.fromkeys(pool_requests(replies)))
            elif not plan.joined and command not in COMPOSED:
                needed[plan.request] = None
            elif name in REPORTS:  # what is not, and joined, is refused unasked, as the API does
                needed[name.encode()] = None
    return list(needed)


def pool_requests(replies: Replies) -> list[bytes]:
    """Return what is asked about pools: one by one where the summary tells of several, then that in use."""
    summary = replies.get(SUMMARY) or b""
    if not re.search(rb"(?:^|;)GPUS=", summary):  # cpuminer has no such command
        return []
    told = re.search(rb"(?:^|;)POOLS=([0-9]{1,9})(?:[;|]|$)", summary)
    count = min(int(told[1]), MAX_POOLS) if told else 1
    return [b"pool|%d" % number for number in range(count) if count > 1] + [b"pool"]
