"""chi: an HTTP front end for the CGMiner RPC API.

One process, one event loop. A request's way::

    client --HTTP--> waitress channel --parsed, stamped--> Bottle handler --judged--> Miner.ask
                                                              ^                          |
                          run again, with the reply at hand --+--- shared reply <--- one connection
                                                                                     to the miner

waitress's loop carries everything: the clients' connections, the Bottle application and the
connections to the miner. A handler that needs the miner is left by `Parked` and run again when the
reply is there, so nothing that answers a client ever waits for the miner. Threads do only what would
hold the loop up: look up host names, and check large replies.

Trust model:

- the miner's API decides what this host may do; chi forwards what its owner allows, and no more;
- what is forwarded is encoded anew from what was judged, never the client's own bytes;
- a client is its ``REMOTE_ADDR``, whatever its headers say;
- what the miner sends is data: checked, repaired only by named rules, never guessed;
- secrets (pool users, passwords, parameters of privileged commands) are in no log.
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import dataclasses
import errno
import functools
import gc
import hmac
import html
import http.client
import json
import logging
import os
import queue
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, NoReturn, Union

import bottle
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from chi import __version__

log = logging.getLogger("chi")

# --- Settings -------------------------------------------------------------------------------------


# int() and float() take more: 8_080, other scripts' digits, nan.
NUMERAL = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?")


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
    if not re.fullmatch(r"[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a single name")
    return text


def word_or_any(text: str) -> str:
    """Convert for argparse a name, or * for any."""
    return text if text == "*" else word(text)


def origin(text: str) -> str:
    """Convert for argparse an origin (RFC 6454) to what browsers send: without a default port."""
    if not re.fullmatch(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin such as http://grafana.lan:3000")
    return re.sub(r"^(http(?=:.*:80$)|https(?=:.*:443$))(.*):[0-9]+$", r"\1\2", text.lower())


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
        "-a --api_host --api-host", "127.0.0.1", type=filled, help="Host name/address used by API server"
    )
    listen: tuple[str, ...] = option(
        "--listen", (), metavar="ADDRESS", type=filled, action="append",
        help="Address or host name to serve on, may be given again (default: every interface)",
    )  # fmt: skip
    # Below the 5 s that Telegraf and others wait.
    timeout: float = option(
        "--timeout", 4.0, metavar="SECONDS", type=number(float, 0.1, 3600, SECONDS),
        help="Time from a request's arrival to its answer",
    )  # fmt: skip
    # The C miners serve one request at a time: more than a few at once only queue there.
    threads: int = option(
        "--threads", 4, metavar="N", type=number(int, 1, 64, "a number"),
        help="Requests to the miner at once, and threads that check large replies",
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


# Options that contradict each other, and why.
CONTRADICTIONS: tuple[tuple[Callable[[Settings], bool], str], ...] = (
    (lambda it: it.private and not it.token_file, "--private needs --token-file"),
    (
        lambda it: it.read_only and bool(it.token_file) and not it.private,
        "--token-file has no use beside --read-only, unless --private is given as well",
    ),
    (
        lambda it: it.private and bool(it.cors_origin),
        "--cors-origin has no use beside --private: pages of other origins cannot send the token",
    ),
)

MAX_REQUEST = 8191  # what BFGMiner, sgminer and Bitmain read at the most (cgminer: 4095)
MAX_REPLY = 8 << 20  # forty times the largest reply seen (190 KB)
MAX_DEPTH = 64  # real replies nest 6 deep; on musl 1,035 levels overflow a thread's 128 KiB stack
MAX_BODY = 64 << 10  # eight times MAX_REQUEST, for a body that escapes every character
MAX_WAITING = 512  # different requests that wait for the miner
SILENCE = 0.5  # a miner this long without a sign of life may be asked once more, a second such: it hangs
MAX_JUDGED, MAX_JUDGED_SIZE = 128, 2048  # requests of clients that are remembered, and their bytes
MAX_HELD = 64  # replies that --max-age keeps
PROBES = 16  # connections to a silent miner beyond Settings.threads
TICK, IDLE = 0.05, 1.0  # how often the event loop looks at the time, with and without somebody waiting
QUIET = 0.25  # a reply with no NUL on a connection left open is taken as complete after this pause
LARGE = 64 << 10  # replies above are checked in a thread: about 1 ms of work on a PC, 50 on a router

# --- Errors ---------------------------------------------------------------------------------------

# Name: HTTP status and message. The name is what logs and counters show.
ERRORS = {
    "bad-path": (400, "The path is not percent-encoded UTF-8: {why}."),
    "bad-body": (
        400,
        'The body is not a request of the API, such as {{"command":"gpu","parameter":"0"}}: {why}.',
    ),
    "unexpected-body": (
        400,
        "A request in the path has no body. Send the API's own request to / or leave the body out.",
    ),
    "token": (
        401,
        "This needs the token: as Authorization: Bearer <token>, or as password (Basic) of any user.",
    ),
    "read-only": (403, "{command} may change the miner, and chi serves only reports (--read-only)."),
    "cross-site": (403, "This was sent by a page of {origin}, not of {host}."),
    "confirm": (403, "{command} may change the miner. A browser has to POST it, which its user confirms."),
    "method": (405, "Only {allow} can be used here."),
    "request-too-large": (
        413,
        "The request has {size} bytes as the API reads it, of {limit} that it can read.",
    ),
    "host": (
        421,
        "{host} is no name of this server, as far as it knows. If it is: chi-server --host {bare}",
    ),
    "internal": (500, "A fault in chi, described in its log."),
    "refused": (
        502,
        "The miner's API at {miner} refuses connections. Is it running, with its API on (--api-listen)?",
    ),
    "unreachable": (502, "The miner's API at {miner} cannot be reached: {why}."),
    "unknown-host": (502, "The name of the miner's host {miner} cannot be looked up: {why}."),
    "closed": (
        502,
        "The miner at {miner} closed the connection without an answer. A miner does so when this host is "
        "not in its api-allow list, or when it speaks only the text protocol (cpuminer, ccminer).",
    ),
    "empty": (502, "The miner sent an empty reply: it may speak only the text protocol (cpuminer, ccminer)."),
    "text-protocol": (502, "The miner answered in the API's text protocol, not in JSON: {why}"),
    "no-summary": (502, "The miner gives no summary of itself: {why}."),
    "not-json": (502, "The miner's reply is not JSON, and no repair is known: {why}."),
    "cut-off": (502, "The miner's reply was cut off after {size} bytes."),
    "too-deep": (502, "The miner's reply is nested more than {limit} levels deep."),
    "reply-too-large": (502, "The miner's reply is larger than {limit} bytes."),
    "busy": (503, "Too many requests already wait for the miner. Try again in a moment."),
    "hung": (503, "The miner has not answered for {seconds:.0f} s and others wait already. Try again later."),
    "not-sent": (503, "Others were before this request for {seconds:g} s; it was not sent to the miner."),
    "not-ready": (503, "{why}"),
    "stopping": (503, "chi is stopping; the request was given up."),
    "timeout": (504, "The miner did not answer within {seconds:g} s. A command may have been carried out."),
}
# These tell of the miner, not of its reply: it cannot be talked to.
MINER_DOWN = frozenset({"refused", "unreachable", "unknown-host", "closed", "timeout"})
# These tell that a client may not have what it asked for.
DENIALS = frozenset({"token", "read-only", "cross-site", "confirm", "host"})


class ChiError(Exception):
    """A request that gets no reply of the miner's: `name` (a key of ERRORS), HTTP `status` and message."""

    def __init__(self, name: str, headers: Sequence[tuple[str, str]] = (), **values: object) -> None:
        self.name = name
        self.status, message = ERRORS[name]
        self.headers = headers or ([("Retry-After", "1")] if self.status == 503 else [])
        self.page: Any = None  # a bottle.HTTPResponse, where a person gets more than the message
        super().__init__(message.format(**values))


# --- Replies --------------------------------------------------------------------------------------
#
# The API's replies should be JSON (RFC 8259) and often are not. A reply that is passes byte for byte; one
# that is not goes through the table of repairs, and out only if it is JSON then.
#
# Strings are told from structure by two replacements: once \\ and \" are each one character that no UTF-8
# text can hold, every " is a delimiter, and str.split() parts structure from strings. Each repair is then
# one regular expression over the structure, where every string is a lone ", or over the strings. That is
# string-aware by construction, and linear: no pattern can scan the same characters from two starts.

ESCAPED_BACKSLASH, ESCAPED_QUOTE, STATUS_KEY = "\ud800", "\ud801", "\ud802"
ONE_KIND = bytes.maketrans(b"[{]}", b"(())")
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Reply(NamedTuple):
    """A reply fit for a client: JSON in UTF-8, and the names of the repairs that made it so."""

    body: bytes
    repairs: tuple[str, ...] = ()


class NestingError(ValueError):
    """JSON nested deeper than any thread's stack is sure to bear."""


def parse_json(data: bytes, parse_int: Callable[[str], Any] = float) -> Any:
    """Return what strict JSON (RFC 8259, UTF-8) says; ValueError if it is not, NestingError beyond MAX_DEPTH.

    Integers become floats unless `parse_int` says otherwise: int() refuses more than 4,300 digits.
    """
    text = data.decode("utf-8")
    if _too_deep(text):
        raise NestingError(f"nested more than {MAX_DEPTH} levels deep")
    return _decoder(parse_int).decode(text)


@functools.cache
def _decoder(parse_int: Callable[[str], Any]) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant, parse_int=parse_int)


def _no_constant(name: str) -> NoReturn:
    # Python's json takes NaN and Infinity, no other parser does.
    raise ValueError(f"{name} is not JSON")


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False  # nearly every reply
    brackets = _split(text)[0].encode("ascii", "ignore").translate(ONE_KIND, NO_BRACKETS)
    for _ in range(MAX_DEPTH):  # each turn takes the innermost level away
        shorter = brackets.replace(b"()", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return b"()" in brackets or brackets.count(b"(") > MAX_DEPTH


def _split(text: str) -> tuple[str, list[str]]:
    """Return the structure of `text`, each string a lone ", and the strings; the two escapes replaced."""
    parts = text.replace("\\\\", ESCAPED_BACKSLASH).replace('\\"', ESCAPED_QUOTE).split('"')
    return '"'.join(parts[::2]), parts[1::2]


def _join(structure: str, strings: list[str]) -> str:
    """The inverse of _split()."""
    parts = [""] * (2 * len(strings) + 1)
    parts[::2], parts[1::2] = structure.split('"'), strings
    text = '"'.join(parts).replace(STATUS_KEY, '"STATUS"')
    return text.replace(ESCAPED_QUOTE, '\\"').replace(ESCAPED_BACKSLASH, "\\\\")


# Repairs of the structure, in this order: name, what is wrong, what it becomes, who sends it.
STRUCTURE_REPAIRS = (
    # {"BYE","id":1}: old sgminer
    ("bare-status", re.compile(r'\A(\s*\{\s*)(?="\s*[,}])'), rf"\1{STATUS_KEY}:"),
    # "Temperature":nan, -inf: Avalon; no number is known, so null
    ("not-a-number", re.compile(r"(?<![\w.])[-+]?(?:nan|inf(?:inity)?)(?![\w.])", re.IGNORECASE), "null"),
    # [,{: bmminer
    ("stray-comma", re.compile(r"(?<=[\[{])\s*,"), ""),
    # ,}: Whatsminer
    ("trailing-comma", re.compile(r",(?=\s*[\]}])"), ""),
    # }{: Bitmain and VolcMiner stats; ""temp0": Whatsminer
    ("missing-comma", re.compile(r'(?<=["\]}\w])(?=\s*["\[{])'), ","),
)
# Repairs of the strings' contents, likewise.
STRING_REPAIRS = (
    # \': some forks
    ("bad-escape", re.compile(r"\\'"), "'"),
    # \x and others that JSON does not know: the backslash was meant
    ("bad-escape", re.compile(r"\\(?![/bfnrt]|u[0-9a-fA-F]{4})"), ESCAPED_BACKSLASH),
)
# newline, tab, 0x01 as they are: cgminer (pool URLs and users), Whatsminer
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f]")
CONTROL_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)}
# }]{"STATUS":[{: two sections joined without a comma, cgminer setconfig; the lists become one
JOINED_SECTIONS = re.compile(r'\}\s*\]\s*\{\s*"STATUS"\s*:\s*\[\s*\{')
MEMBER = re.compile(r'\s*"\s*:')
MAX_BRACKETS = (
    100_000  # twenty times those of the largest reply seen; the one repair that counts them is slow
)


def read_reply(data: bytes, pretty: bool = False) -> Reply:
    """Return the miner's reply as valid JSON, repaired if need be; ChiError where it cannot be."""
    try:
        parse_json(data)
        reply = Reply(data)
    except NestingError:
        raise ChiError("too-deep", limit=MAX_DEPTH) from None
    except ValueError as error:
        reply = _repair(data, error)
    return Reply(_indent(reply.body), reply.repairs) if pretty else reply


def _repair(data: bytes, error: ValueError) -> Reply:
    """Return `data`, no JSON because of `error`, with the repairs that make it so; ChiError if none do."""
    repairs: list[str] = []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        repairs.append("invalid-utf-8")
    structure, strings = _split(text)
    if structure.count("{") > structure.count("}"):
        structure, strings = _split(_sub("joined-sections", JOINED_SECTIONS, "},{", text, repairs))
    if structure.count('"') != len(strings):  # the last string has no end
        raise _explain(data, error)
    for name, pattern, fix in STRUCTURE_REPAIRS:
        structure = _sub(name, pattern, fix, structure, repairs)
    structure = _match_brackets(structure, repairs)
    contents = '"'.join(strings)
    for name, pattern, fix in STRING_REPAIRS:
        contents = _sub(name, pattern, fix, contents, repairs)
    if CONTROL_CHARACTER.search(contents):
        contents = contents.translate(CONTROL_ESCAPES)
        repairs.append("control-character")
    try:
        body = _join(structure, contents.split('"') if strings else []).encode("utf-8")
        parse_json(body)
    except ValueError:
        raise _explain(data, error) from None
    return Reply(body, tuple(dict.fromkeys(repairs)))


def _sub(name: str, pattern: re.Pattern[str], fix: str, text: str, repairs: list[str]) -> str:
    text, count = pattern.subn(fix, text)
    if count:
        repairs.append(name)
    return text


def _match_brackets(structure: str, repairs: list[str]) -> str:
    """Mend ["a":1] (Whatsminer's error_code) and a ] that nothing opened (old cgminer's notify)."""
    if structure.count("]") <= structure.count("[") and not re.search(r'\[\s*"\s*:', structure):
        return structure
    if sum(map(structure.count, "[]{}")) > MAX_BRACKETS:
        return structure
    edits: list[tuple[int, str, str]] = []  # position of a bracket, what it becomes, name of the repair
    closing: list[str] = []  # what each open bracket needs; "members" for a [ that should be {
    for match in re.finditer(r"[][{}]", structure):
        bracket, wanted = match[0], closing[-1] if closing else ""
        if bracket == "[" and MEMBER.match(structure, match.end()):
            closing.append("members")
            edits.append((match.start(), "{", "array-of-members"))
        elif bracket in "[{":
            closing.append("]" if bracket == "[" else "}")
        elif bracket == wanted:
            closing.pop()
        elif bracket == "]" and wanted == "members":
            closing.pop()
            edits.append((match.start(), "}", "array-of-members"))
        elif bracket == "]":
            edits.append((match.start(), "", "extra-bracket"))
    repairs += [name for _, _, name in edits]
    pieces, end = [], 0
    for position, replacement, _ in edits:
        pieces += [structure[end:position], replacement]
        end = position + 1
    return "".join(pieces) + structure[end:]


def _explain(data: bytes, error: ValueError) -> ChiError:
    """Say what a reply is that is no JSON, because of `error`, and cannot be made so."""
    text = data.decode("utf-8", "replace").strip()
    if re.match(r"[A-Z][A-Za-z ]*=[^{}]*\|", text):
        return ChiError("text-protocol", why=_quote(text))
    if not text.startswith(("{", "[")):
        return ChiError("not-json", why=f"it begins with {_quote(text)}")
    structure, strings = _split(text)
    opened = structure.count("{") + structure.count("[") - structure.count("}") - structure.count("]")
    if structure.count('"') != len(strings) or opened > 0:
        return ChiError("cut-off", size=len(data))
    return ChiError("not-json", why=error)


def _quote(text: str) -> str:
    """The beginning of a foreign text, in printable ASCII."""
    return json.dumps(text[:60])


TOKEN = re.compile(r'"[^"]*"|[][{},:]|[^][{},:"\s]+')


def _indent(body: bytes) -> bytes:
    """Return valid JSON indented by two spaces a level; each string and number as it was written."""
    text = body.decode("utf-8").replace("\\\\", ESCAPED_BACKSLASH).replace('\\"', ESCAPED_QUOTE)
    pieces: list[str] = []
    depth, previous = 0, ""
    for token in TOKEN.findall(text):
        if token in ("}", "]"):
            depth -= 1
            if previous not in ("{", "["):
                pieces.append("\n" + "  " * depth)
        elif previous in ("{", "[", ","):
            pieces.append("\n" + "  " * depth)
        pieces.append(": " if token == ":" else token)
        depth += token in ("{", "[")
        previous = token
    text = "".join(pieces).replace(ESCAPED_QUOTE, '\\"').replace(ESCAPED_BACKSLASH, "\\\\")
    return text.encode("utf-8") + b"\n"


ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def envelope(status: str, code: int, message: str) -> bytes:
    """An answer of chi's own in the API's shape, so that a client needs one parser: status S, E or I."""
    entry = {
        "STATUS": status,
        "When": int(time.time()),
        "Code": code,
        "Msg": message,
        "Description": f"chi {__version__}",
    }
    return ENCODER.encode({"STATUS": [entry], "id": 1}).encode("ascii")


# --- CGMiner wire protocol ------------------------------------------------------------------------
#
# One request a connection, sent whole at once (the server reads it with one recv()), with no delimiter;
# the reply ends with NUL, and the server closes. The server has one thread and waits without limit for
# the request, so a connection is opened only with the request at hand.

Addresses = list[tuple[int, Any]]  # socket family and address


def encode_request(members: dict[str, Any]) -> bytes:
    """Return the API's request: compact JSON in ASCII; ChiError if it is larger than the API reads."""
    try:
        request = ENCODER.encode(members).encode("ascii")
    except ValueError as error:  # 1e999
        raise ChiError("bad-body", why=error) from None
    if len(request) > MAX_REQUEST:
        raise ChiError("request-too-large", size=len(request), limit=MAX_REQUEST)
    return request


def host_and_port(host: str, port: int) -> str:
    """Return the two as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def look_up(host: str, port: int, flags: int = 0) -> Addresses:
    """Return where `host`, a name or an IP literal, is reached; socket.gaierror if it is unknown."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "it is no host name") from None
    return [(family, address) for family, _, _, _, address in found]


class Exchange:
    """One request on one connection, carried by the event loop (`sockets`: descriptor to object).

    Ends with one call of `landed(self, outcome)`: the reply's bytes without the NUL, or a ChiError.
    `asked` is when the request was sent, `heard` the last sign of life, in seconds of time.monotonic().
    """

    accepting = False  # for wasyncore: not a listening socket

    def __init__(
        self,
        miner: str,
        request: bytes,
        sockets: dict[int, Any],
        landed: Callable[[Exchange, bytes | ChiError], None],
    ) -> None:
        self.request = request
        self.started = self.heard = time.monotonic()
        self.asked: float | None = None
        self._miner = miner
        self._sockets = sockets
        self._landed = landed
        self._addresses: Addresses = []
        self._socket: socket.socket | None = None
        self._data = bytearray()
        self._finished = False
        self._checked = self._settled = 0  # length at the last looks whether it is complete without NUL

    def connect(self, addresses: Addresses) -> None:
        """Send the request to the first of `addresses` that accepts."""
        self._addresses = list(addresses)
        self._connect_next(OSError(errno.EADDRNOTAVAIL, "no address"))

    def _connect_next(self, error: OSError) -> None:
        while self._addresses:
            family, address = self._addresses.pop(0)
            try:
                self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                code = self._socket.connect_ex(address)
                if code not in (0, errno.EINPROGRESS):
                    raise OSError(code, os.strerror(code))
            except OSError as failure:
                self.close()
                error = failure
                continue
            self._sockets[self._socket.fileno()] = self
            self._send()  # to a host as near as this one it is connected by now
            return
        name = "refused" if error.errno == errno.ECONNREFUSED else "unreachable"
        self.finish(ChiError(name, miner=self._miner, why=error.strerror))

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._sockets.pop(self._socket.fileno(), None)
            self._socket.close()
            self._socket = None

    def finish(self, outcome: bytes | ChiError) -> None:
        """End the exchange with `outcome`; close() is left to the caller, for when the clients have it."""
        if self._socket is not None:
            self._sockets.pop(self._socket.fileno(), None)
        self._finished = True
        self._landed(self, outcome)

    # What wasyncore calls.

    def readable(self) -> bool:
        return self.asked is not None

    def writable(self) -> bool:
        return self.asked is None

    def handle_write_event(self) -> None:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.close()
            self._connect_next(OSError(code, os.strerror(code)))
        else:
            self._send()

    def _send(self) -> None:
        assert self._socket is not None
        now = time.monotonic()
        try:
            self._socket.send(self.request)  # whole: a new socket's buffer holds more than MAX_REQUEST
        except BlockingIOError:  # not connected yet
            return
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was connected; reading will tell what came before
        except OSError as error:  # not connected, and will not be
            self.close()
            self._connect_next(error)
            return
        self.asked = self.heard = now

    def handle_read_event(self) -> None:
        assert self._socket is not None
        while not self._finished:
            try:
                chunk = self._socket.recv(LARGE)
            except BlockingIOError:
                return
            except OSError:  # a reset; what came before it may be a whole reply
                chunk = b""
            if not chunk:
                self._end_of_stream()
                return
            self._received(chunk)

    def handle_expt_event(self) -> None:
        """Urgent data is none of the API's; poll() tells of it until something else is read."""
        self.handle_read_event()

    def handle_close(self) -> None:
        if self.asked is not None:  # else handle_write_event() has seen the error already
            self.handle_read_event()

    def handle_error(self) -> None:
        log.exception("fault while talking to the miner")
        self.finish(ChiError("internal"))

    # What came.

    def _received(self, chunk: bytes) -> None:
        self.heard = time.monotonic()
        nul = chunk.find(0)
        self._data += chunk if nul < 0 else chunk[:nul]
        if len(self._data) > MAX_REPLY:
            self.finish(ChiError("reply-too-large", limit=MAX_REPLY))
        elif nul >= 0:
            self.finish(bytes(self._data) if self._data else ChiError("empty"))
        elif chunk.rstrip().endswith((b"}", b"]")) and len(self._data) >= 2 * self._checked:
            # Doubling keeps the checks of a reply that drips in linear in its length.
            self._checked = len(self._data)
            self._finish_if(parse_json)

    def settle(self) -> None:
        """Take what has come as the reply if it is complete: nothing has come for QUIET seconds."""
        if len(self._data) > self._settled:
            self._settled = len(self._data)
            # Repairs of more would hold up the event loop.
            self._finish_if(read_reply if len(self._data) <= LARGE else parse_json)

    def _finish_if(self, check: Callable[[bytes], object]) -> None:
        try:
            check(bytes(self._data))
        except (ValueError, ChiError):
            return
        self.finish(bytes(self._data))

    def _end_of_stream(self) -> None:
        self.finish(bytes(self._data) if self._data else ChiError("closed", miner=self._miner))


# --- Coalescing -----------------------------------------------------------------------------------
#
# Identical reports share a request to the miner, and no client gets a reply that was asked for before the
# client's own request had arrived, parsed to its last byte. So a Question has one request under way at the
# most; the reply goes to whoever had arrived when it was sent, and who came later waits for the next.
# Nothing is asked twice for the same client.
#
# All of this runs in the event loop's thread: there are no locks.

Key = tuple[bytes, bool]  # the encoded request, and whether the reply is wanted indented
Outcome = Union[Reply, ChiError]


class Parked(BaseException):
    """Leaves a handler whose client waits for the miner; it is run again when the answer is there.

    No Exception, so that nothing on the way out of the handler takes it for a fault.
    """


class Client:
    """One HTTP request that may wait for the miner. Times are those of time.monotonic()."""

    __slots__ = ("answers", "arrived", "deadline", "forwarded", "known", "raw", "resume")

    def __init__(self, arrived: float, timeout: float, raw: bytes, resume: Callable[[], None]) -> None:
        self.arrived = arrived
        self.deadline = arrived + timeout
        self.raw = raw  # the request as it came: equal bytes get equal answers; empty if not known whole
        self.resume = resume  # has the handler run again
        self.answers: dict[Key, Outcome] = {}
        self.forwarded: Key | None = None  # set once it is judged: only the answer to this is missing
        self.known: tuple[str, frozenset[str]] | None = None  # of the firmware, when its scrape began


class Question:
    """What clients wait to be asked; `shared` if one reply may serve them all."""

    __slots__ = ("deadline", "exchanges", "key", "shared", "waiting")

    def __init__(self, key: Key, shared: bool) -> None:
        self.key = key
        self.shared = shared
        self.waiting: list[Client] = []
        self.exchanges: list[Exchange] = []  # more than one only while the miner is silent
        self.deadline = float("inf")

    def add(self, client: Client) -> None:
        self.waiting.append(client)
        self.deadline = min(self.deadline, client.deadline)

    def wants_asking(self, now: float) -> bool:
        """Whether somebody waits whom no request under way will serve, nor may still serve."""
        if not self.waiting or not self.exchanges:
            return bool(self.waiting)
        newest = self.exchanges[-1]
        silent = now - newest.heard >= SILENCE
        return silent and newest.asked is not None and self.waiting[-1].arrived > newest.asked


class Helpers:
    """Threads for what would hold up the event loop; started when first needed."""

    def __init__(self, count: int, wake: Callable[[], None]) -> None:
        self._count = count
        self._wake = wake
        self._threads = self._pending = 0
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Have a thread call `work`, then the loop call `done` with its result, or its Exception."""
        self._pending += 1
        if self._threads < min(self._pending, self._count):
            self._threads += 1
            threading.Thread(target=self._run, daemon=True).start()
        self._jobs.put((work, done))

    def deliver(self) -> None:
        """Call what waits for results; in the event loop."""
        while not self._results.empty():
            done, result = self._results.get()
            self._pending -= 1
            done(result)

    def _run(self) -> None:
        while True:
            work, done = self._jobs.get()
            try:
                result = work()
            except Exception as error:
                result = error
            self._results.put((done, result))
            self._wake()


class Miner:
    """The miner's API as handlers see it: `ask`, and a Reply or a ChiError.

    `sockets` is the event loop's map; the loop calls `ask_again` before a handler and `turn` after each turn.
    """

    def __init__(self, settings: Settings, sockets: dict[int, Any], helpers: Helpers) -> None:
        self.name = host_and_port(settings.api_host, settings.api_port)
        # Since the start: what is counted (an attribute of prometheus.Own), and of which kind.
        self.counters: collections.Counter[tuple[str, str]] = collections.Counter()
        # Called when the miner comes or goes: whether it answers, and a sentence that says so.
        self.on_change: Callable[[bool, str], None] = lambda answers, sentence: None
        self._settings = settings
        self._sockets = sockets
        self._helpers = helpers
        self.trouble = ""  # while it does not answer, the name of the error
        self._answers: bool | None = None  # None: nobody has asked yet
        self._open: dict[Question, None] = {}  # in order of arrival
        self._shared: dict[Key, Question] = {}
        self._judged: dict[bytes, Key] = {}  # requests of clients, as they came, and the report they ask for
        self._exchanges: list[Exchange] = []
        self._spent: list[Exchange] = []  # to be closed, which takes as long as a tenth of an exchange
        self._heard = 0.0  # when the miner last answered
        self._sent = 0.0  # when it was last asked
        self._held: dict[Key, tuple[float, Reply]] = {}  # with --max-age: when asked, and the reply
        # When a privileged command last began or ended: what was asked before is not held.
        self.changed = 0.0
        self._resolving: list[Exchange] = []
        self._addresses: Addresses = []
        try:
            self._addresses = look_up(settings.api_host, settings.api_port, socket.AI_NUMERICHOST)
            self._literal = True
        except socket.gaierror:
            self._literal = False

    # For handlers and the event loop.

    def ask(self, client: Client, request: bytes, pretty: bool = False, shared: bool = True) -> Reply:
        """Return the miner's reply to `request`, or raise its ChiError, or Parked until it is there.

        A `shared` request, a report, may be answered together with others; any other goes once, alone.
        """
        key = (request, pretty)
        if shared and client.forwarded == key and client.raw:
            self._remember(client.raw, key)
        answer = client.answers.get(key) or (self._recall(key, client) if shared else None)
        if answer is None:
            self._park(client, key, shared)
            raise Parked
        if isinstance(answer, ChiError):
            raise answer.with_traceback(None)
        return answer

    def ask_again(self, client: Client) -> bool:
        """Ask for a client whose request has been judged before; whether it waits now.

        The verdict on a request depends on its bytes and the settings alone, so pollers, who send the same
        again and again, are judged once. What is remembered are reports; anything else is always judged.
        """
        key = self._judged.get(client.raw) if not client.answers else None
        if key is None:
            return False
        client.forwarded = key
        try:
            client.answers[key] = self.ask(client, *key)
        except ChiError as error:
            client.answers[key] = error
        except Parked:
            return True
        return False

    def turn(self, now: float) -> float:
        """Send what can be sent, end what has waited too long; return for how many seconds nothing is due."""
        for exchange in self._exchanges[:]:
            if now >= exchange.started + self._settings.timeout:
                exchange.finish(ChiError("timeout", seconds=self._settings.timeout))
            elif now >= exchange.heard + QUIET:
                exchange.settle()
        for question in [question for question in self._open if question.deadline <= now]:
            self._expire(question, now)
        for question in [question for question in self._open if question.wants_asking(now)]:
            if not self._has_room(now):
                break
            self._send(question, now)
        while self._spent:
            self._spent.pop().close()
        return TICK if self._open else IDLE

    def give_up(self) -> None:
        """Answer everybody who waits with `stopping`."""
        for question in list(self._open):
            self._answer(question, None, ChiError("stopping"))

    # Who waits.

    def _remember(self, raw: bytes, key: Key) -> None:
        if raw not in self._judged and len(raw) <= MAX_JUDGED_SIZE:
            if len(self._judged) >= MAX_JUDGED:
                del self._judged[next(iter(self._judged))]
            self._judged[raw] = key

    def _park(self, client: Client, key: Key, shared: bool) -> None:
        question = self._shared.get(key) if shared else None
        if question is None:
            self._check_room(client.arrived)
            question = Question(key, shared)
            self._open[question] = None
            if shared:
                self._shared[key] = question
        question.add(client)

    def _check_room(self, now: float) -> None:
        """Refuse what cannot be answered in time."""
        oldest = min((exchange.started for exchange in self._exchanges), default=now)
        silence = now - max(oldest, self._heard)
        unsent = len(self._open) - len(self._exchanges)
        if silence > 2 * SILENCE and unsent >= self._settings.threads:
            raise ChiError("hung", seconds=silence)
        if len(self._open) >= MAX_WAITING:
            raise ChiError("busy")

    def _expire(self, question: Question, now: float) -> None:
        """Give up the clients whose deadline has passed."""
        name = "timeout" if question.exchanges else "not-sent"
        error = ChiError(name, seconds=self._settings.timeout)
        waiting, question.waiting, question.deadline = question.waiting, [], float("inf")
        for client in waiting:
            if client.deadline > now:
                question.add(client)
            else:
                client.answers[question.key] = error
                client.resume()
        self._close_if_done(question)

    def _close_if_done(self, question: Question) -> None:
        if question.waiting or question.exchanges:
            return
        self._open.pop(question, None)
        if question.shared:
            self._shared.pop(question.key, None)

    # What is under way.

    def _has_room(self, now: float) -> bool:
        """Whether the miner may be sent one more: a few at once, and while it is silent one now and then."""
        busy = len(self._exchanges)
        if busy < self._settings.threads:
            return True
        sign_of_life = max(self._sent, self._heard, *(exchange.heard for exchange in self._exchanges))
        return now - sign_of_life >= SILENCE and busy < self._settings.threads + PROBES

    def _send(self, question: Question, now: float) -> None:
        def landed(exchange: Exchange, outcome: bytes | ChiError) -> None:
            self._landed(question, exchange, outcome)

        self.counters["miner_requests", ""] += 1
        self._sent = now
        if not question.shared:
            self._forget()
        exchange = Exchange(self.name, question.key[0], self._sockets, landed)
        question.exchanges.append(exchange)
        self._exchanges.append(exchange)
        if self._addresses:
            exchange.connect(self._addresses)
            return
        self._resolving.append(exchange)
        if len(self._resolving) == 1:
            host, port = self._settings.api_host, self._settings.api_port
            self._helpers.submit(lambda: look_up(host, port), self._looked_up)

    def _looked_up(self, result: Addresses | Exception) -> None:
        waiting, self._resolving = self._resolving, []
        for exchange in waiting:
            if exchange not in self._exchanges:  # it has waited too long for the name
                continue
            if isinstance(result, Exception):
                why = getattr(result, "strerror", None) or result
                exchange.finish(ChiError("unknown-host", miner=self.name, why=why))
            else:
                self._addresses = result
                exchange.connect(result)

    def _landed(self, question: Question, exchange: Exchange, outcome: bytes | ChiError) -> None:
        """Take what an exchange ended with; large replies are checked in a thread."""
        self._exchanges.remove(exchange)
        self._spent.append(exchange)
        alone = exchange.started < self._heard  # others were answered meanwhile
        if not (alone and isinstance(outcome, ChiError) and outcome.name == "timeout"):
            self._note(outcome)
        if isinstance(outcome, ChiError):
            self._answer(question, exchange, outcome)
            return
        self._heard = exchange.heard
        data, pretty = outcome, question.key[1]

        def check() -> Outcome:
            try:
                return read_reply(data, pretty)
            except ChiError as error:
                return error
            except Exception:
                log.exception("fault while reading a reply")
                return ChiError("internal")

        if len(data) <= LARGE:
            self._answer(question, exchange, check())
        else:
            self._helpers.submit(check, lambda result: self._answer(question, exchange, result))

    def _answer(self, question: Question, exchange: Exchange | None, outcome: Outcome) -> None:
        """Give `outcome` to all who had arrived when it was asked for, and let the others ask anew."""
        asked = exchange.asked if exchange else None
        if exchange:
            question.exchanges.remove(exchange)
        if isinstance(outcome, Reply):
            self.counters.update(("json_repairs", name) for name in outcome.repairs)
            if question.shared and asked is not None:
                self._hold(question.key, asked, outcome)
        elif exchange:
            self.counters["miner_errors", outcome.name] += 1
        if not question.shared:
            self._forget()
        waiting, question.waiting, question.deadline = question.waiting, [], float("inf")
        self._close_if_done(question)
        served = [client for client in waiting if asked is None or client.arrived <= asked]
        self.counters["coalesced_requests", ""] += max(0, len(served) - 1)
        for client in served:
            client.answers[question.key] = outcome
        for client in waiting:
            client.resume()

    def _note(self, outcome: bytes | ChiError) -> None:
        """Say once that the miner does not answer, and once that it does again."""
        answers = not (isinstance(outcome, ChiError) and outcome.name in MINER_DOWN)
        if not answers and not self._literal:
            self._addresses = []  # the name may have moved
        self.trouble = outcome.name if isinstance(outcome, ChiError) and not answers else ""
        if answers is self._answers:
            return
        self._answers = answers
        self.on_change(answers, f"miner {self.name} answers" if answers else str(outcome))

    # What is held.

    def _recall(self, key: Key, client: Client) -> Reply | None:
        asked, reply = self._held.get(key, (float("-inf"), None))
        if reply is None or asked < client.arrived - self._settings.max_age:
            return None
        self.counters["coalesced_requests", ""] += 1
        return reply

    def _hold(self, key: Key, asked: float, reply: Reply) -> None:
        if self._settings.max_age and asked > self.changed:
            self._held.pop(key, None)
            self._held[key] = (asked, reply)
            if len(self._held) > MAX_HELD:
                del self._held[next(iter(self._held))]

    def _forget(self) -> None:
        self._held.clear()
        self.changed = time.monotonic()


# --- Access policy --------------------------------------------------------------------------------
#
# A report changes nothing and gives no secret away; anything else is privileged. From the command tables of
# cgminer 4.11, sgminer 5.1, BFGMiner 5.5 and Bitmain's forks, and from client libraries for the others.

REPORTS_BY_FIRMWARE = {
    "all C miners": "version config devs pools summary notify devdetails stats check coin",
    "cgminer, Bitmain": "edevs estats usbstats lcd pgacount asccount asc pga dbgstats noncenum",
    "sgminer": "gpu gpucount profiles",
    "BFGMiner": "procs proc proccount procnotify procdetails pga pgacount cpu cpucount gpu gpucount",
    "Bitmain new_api": "rate warning",
    "Avalon": "litestats",
    "Whatsminer": "status get_psu get_version get_miner_info get_error_code",
    "BOSminer, Braiins OS": "fans temps tempctrl tunerstatus asccount asc",
    "LuxOS": "atm events fans temps tempctrl power profiles limits groups frequencyget voltageget "
    "healthchipget healthctrl",
    "Sealminer": "summary stats pools version",
}
REPORTS = frozenset(name for names in REPORTS_BY_FIRMWARE.values() for name in names.split())
REPORT_MEMBERS = frozenset({"command", "parameter", "new_api"})
# Where a name can only be a host of the LAN: no public page can have it as its own (DNS rebinding).
LOCAL_DOMAINS = (".local", ".lan", ".home.arpa", ".internal")
MIN_TOKEN, MAX_TOKEN = 16, 4096  # characters
LOG_PAUSE = 10.0  # seconds between lines about wrong tokens


class Policy:
    """Who may have what. The verdict depends on the request's bytes and the settings alone.

    `admit` and `judge` raise the ChiError of the first rung that a request fails; ValueError from the
    constructor says what is wrong with the token file.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reports = REPORTS.union(settings.report)
        own_name = socket.gethostname().lower()
        self._hosts = {"localhost", own_name, *(name.lower().rstrip(".") for name in settings.host)} - {""}
        self._token = read_token(settings.token_file) if settings.token_file else b""
        self._wrong_tokens, self._log_next = 0, 0.0

    @property
    def exposure(self) -> str:
        """What whoever reaches chi can do, in words."""
        if self._settings.read_only:
            return "reports only (--read-only)" + (", with the token" if self._settings.private else "")
        if self._settings.private:
            return "everything, with the token"
        if self._token:
            return "reports, and every other command with the token"
        return "every command that the miner's API lets this host use (--read-only ends that)"

    @property
    def is_open(self) -> bool:
        """Whether only the miner's API stands between a client and a privileged command."""
        return not self._token and not self._settings.read_only

    def learn_name(self, name: object) -> None:
        """Take a name for this machine's own; its FQDN, which may take long to be looked up."""
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
        """The rungs for every request: Host, and with --private the token."""
        for host in named_hosts(environ):
            if not self._is_ours(host):
                raise ChiError("host", host=_quote(host), bare=host_name(host)[:60] or "NAME")
        if self._settings.private and environ["chi.path"] != "/healthz":
            self._check_token(environ)

    def judge(self, environ: dict[str, Any], members: dict[str, Any]) -> bool:
        """The rungs for what goes to the miner; whether it is a report, which others may share."""
        report = self.is_report(members)
        if self._token and not report:
            self._check_token(environ)
        if environ["REQUEST_METHOD"] == "POST":
            check_same_site(environ)
        command = _quote(str(members.get("command", members.get("cmd", "an encrypted command"))))
        if self._settings.read_only and not report:
            raise ChiError("read-only", command=command)
        if not report and environ["REQUEST_METHOD"] != "POST" and is_browser(environ):
            raise ChiError("confirm", command=command)
        return report

    def cors(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the headers that let a page of another origin read the response."""
        wanted = environ.get("HTTP_ORIGIN", "").lower()
        if environ["REQUEST_METHOD"] == "POST" or wanted not in self._settings.cors_origin:
            return []
        return [("Access-Control-Allow-Origin", wanted), ("Vary", "Origin")]

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        known = name in self._hosts or "*" in self._hosts or name.endswith(LOCAL_DOMAINS)
        return known or (PLAIN_NAME.fullmatch(name) is not None) or is_literal(name)

    def _check_token(self, environ: dict[str, Any]) -> None:
        given = environ.get("HTTP_AUTHORIZATION", "")
        if hmac.compare_digest(given_token(given), self._token):
            return
        if given:
            self._log_wrong_token(environ["REMOTE_ADDR"])
        challenges = [("WWW-Authenticate", 'Bearer realm="chi"'), ("WWW-Authenticate", 'Basic realm="chi"')]
        raise ChiError("token", challenges)

    def _log_wrong_token(self, address: str) -> None:
        self._wrong_tokens += 1
        now = time.monotonic()
        if now >= self._log_next:
            log.warning("wrong token from %s (%d since the last such line)", address, self._wrong_tokens)
            self._wrong_tokens, self._log_next = 0, now + LOG_PAUSE


PLAIN_NAME = re.compile(r"[a-z0-9_-]+")  # without a dot it is looked up in the LAN alone
HOST = re.compile(r"(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([a-z0-9._-]+))(?::[0-9]*)?", re.ASCII)


def read_token(path: str) -> bytes:
    """Return the token in a file; ValueError says why it is none."""
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
    """Whether a page may be behind a request, rather than a program of its user's."""
    if environ.get("HTTP_USER_AGENT", "").startswith("Mozilla/"):
        return True
    return any(name in environ for name in ("HTTP_ORIGIN", "HTTP_REFERER")) or any(
        name.startswith("HTTP_SEC_FETCH_") for name in environ
    )


def check_same_site(environ: dict[str, Any]) -> None:
    """Refuse what a page of another site had a browser send."""
    host = environ.get("HTTP_HOST", "").lower()
    sender = environ.get("HTTP_ORIGIN") or environ.get("HTTP_REFERER")
    if sender is not None:
        scheme, _, rest = sender.lower().partition("://")
        port = {"http": ":80", "https": ":443"}.get(scheme, "")
        netloc = re.split("[/?#]", rest)[0]
        if not netloc or netloc.removesuffix(port) != host.removesuffix(port):
            raise ChiError("cross-site", origin=_quote(sender), host=_quote(host))
    if environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none"):
        raise ChiError("cross-site", origin="another site", host=_quote(host))


def may_write(reply: Any) -> bool | None:
    """Whether this host may change the miner, by the reply to `privileged`; None if it does not say."""
    status = section(reply, "STATUS")
    if status and status[0].get("STATUS") == "S":
        return True
    return False if status and status[0].get("Code") == 45 else None


def warn_of(writes: bool | None) -> str:
    """What it means that chi is open, in words."""
    end = "--read-only or --token-file ends that"
    return {
        True: f"the API gives this host write access: whoever reaches chi can change the miner; {end}",
        False: "the API lets this host read only, and so whoever reaches chi",
        None: f"the API does not tell whether this host may write; if so, whoever reaches chi may; {end}",
    }[writes]


def section(reply: Any, name: str) -> list[dict[str, Any]]:
    """Return the entries of a section of a parsed reply; empty where there are none."""
    entries = reply.get(name) if isinstance(reply, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


ACCESS = {
    True: "the API gives this host write access",
    False: "the API lets this host read only",
    None: "the API does not tell whether this host has write access",
}


# --- HTTP application -----------------------------------------------------------------------------

JSON = "application/json; charset=utf-8"
ROOT = "summary+devs"  # what / asks for
BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


class Answer(NamedTuple):
    """What a client gets, before HTTP: status, headers, body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


JSON_HEADERS = [
    ("Content-Type", JSON),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
]


def answer(outcome: Outcome) -> Answer:
    """What a client gets for the miner's reply, or for an error."""
    if isinstance(outcome, ChiError):
        body = envelope("E", outcome.status, str(outcome))
        return Answer(outcome.status, [*JSON_HEADERS, *outcome.headers], body)
    if outcome.repairs:
        return Answer(200, [*JSON_HEADERS, ("Chi-Repaired", ", ".join(outcome.repairs))], outcome.body)
    return Answer(200, JSON_HEADERS, outcome.body)


def respond(outcome: Outcome) -> bottle.HTTPResponse:
    """The same as bottle's response."""
    status, headers, body = answer(outcome)
    return bottle.HTTPResponse(body, status, headers)


class Plan(NamedTuple):
    """What a client asks of the miner: the API's members, and the request that says so."""

    members: dict[str, Any]
    request: bytes


def check_path(environ: dict[str, Any]) -> None:
    """Refuse a path that is not percent-encoded UTF-8: bottle leaves out what it cannot decode."""
    if BAD_ESCAPE.search(environ["REQUEST_URI"].partition("?")[0]):
        raise ChiError("bad-path", why="a % is not followed by two hexadecimal digits (a % itself is %25)")
    try:
        environ["chi.path"].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ChiError("bad-path", why=error) from None


def read_path(path: str) -> Plan:
    """Return what a path asks for: /<command>[+command...]/[parameter], percent-decoded."""
    command, _, parameter = path[1:].partition("/")
    members = {"command": command or ROOT}
    if parameter:
        members["parameter"] = parameter
    return Plan(members, encode_request(members))


def read_input(environ: dict[str, Any]) -> bytes:
    """Return the body of a request, also to a handler that is run again."""
    environ["wsgi.input"].seek(0)
    body: bytes = environ["wsgi.input"].read()
    return body


def read_body(body: bytes) -> Plan:
    """Return what a body asks for: the API's own request, in JSON."""
    try:
        members = parse_json(body, parse_int=int)
    except ValueError as error:
        raise ChiError("bad-body", why=error) from None
    if not isinstance(members, dict):
        raise ChiError("bad-body", why="it is not a JSON object")
    # Whatsminer: "cmd" for "command", or {"enc":1,"data":...}
    if not any(isinstance(members.get(name), str) for name in ("command", "cmd")) and "enc" not in members:
        raise ChiError("bad-body", why="its command is not a string")
    return Plan(members, encode_request(members))


def method_error(allow: str) -> ChiError:
    """Return the error for a method that is none of `allow`."""
    return ChiError("method", [("Allow", allow)], allow=allow)


# No script, no style, nothing to load; the form goes to the page's own URL.
CONFIRMATION = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Confirm a command to the miner</title>
<h1>Send this to the miner?</h1>
<p>Command: <code><bdi>{command}</bdi></code></p>
<p><label>Parameter: <textarea readonly rows="3" cols="36" dir="auto">
{parameter}</textarea></label></p>
<p>It may change what the miner does. If you did not mean to come here, close this page.</p>
<form method="post"><button>Send it</button></form>
</html>
"""


def page(body: bytes, status: int, allowed: str) -> bottle.HTTPResponse:
    """An HTML page that can be in no frame, and can do what `allowed`, a Content-Security-Policy, says."""
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; {allowed}",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return bottle.HTTPResponse(body, status, headers)


def confirmation(members: dict[str, Any]) -> bottle.HTTPResponse:
    """A page on which the user of a browser says that the command is meant."""
    texts = (str(members.get(name, "none")) for name in ("command", "parameter"))
    command, parameter = (html.escape(text) for text in texts)
    text = CONFIRMATION.format(command=command, parameter=parameter)
    return page(text.encode("utf-8", "replace"), 403, "form-action 'self'")


@functools.cache
def read_dashboard() -> tuple[bytes, str]:
    """Return the page of /dashboard and its policy: what is in the file may run and ask chi, and no more."""
    import hashlib  # here, as most who start chi never open the page

    with open(os.path.join(os.path.dirname(__file__), "dashboard.html"), "rb") as file:
        body = file.read()
    sources = [
        "connect-src 'self'",
        "img-src 'self'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    ]
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside).digest()).decode()
        sources.append(f"{tag}-src 'sha256-{digest}'")
    return body, "; ".join(sources)


# What is counted, by the names of prometheus.Own.
COUNTED_BY_KIND = ("http_requests", "miner_errors", "denied_requests", "json_repairs")
COUNTED = ("miner_requests", "coalesced_requests")
STARTED = time.time()
FIRST_SAMPLE = 15.0  # seconds from the start to the first sample of the history


def process_figures() -> dict[str, float]:
    """Return what /proc tells of this process, by the names of Own; less where there is no /proc."""
    figures = {
        "cpu_seconds": time.process_time(),
        "max_descriptors": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "start_time": STARTED,
    }
    with contextlib.suppress(OSError):
        figures["open_descriptors"] = float(len(os.listdir("/proc/self/fd")) - 1)  # less listdir()'s own
        with open("/proc/self/statm", "rb") as statm:
            figures["resident_bytes"] = float(int(statm.read().split()[1]) * resource.getpagesize())
    return figures


def scrape_timeout(environ: dict[str, Any]) -> float:
    """Return how long Prometheus lets a scrape take, in seconds, less what the way there and back needs."""
    try:
        limit = float(environ.get("HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS", "inf"))
    except ValueError:
        return float("inf")
    return max(limit - 0.5, limit / 2) if limit > 0 else float("inf")


def asks_for(environ: dict[str, Any], name: str) -> bool:
    """Whether the query has a field of that name, with or without a value."""
    query = environ["QUERY_STRING"]
    return bool(query) and any(part.partition("=")[0] == name for part in query.split("&"))


def accepted_age(environ: dict[str, Any]) -> float:
    """Return how old an answer the client takes, in seconds: Cache-Control: max-age (RFC 9111, 5.2.1.1)."""
    control = environ.get("HTTP_CACHE_CONTROL", "").lower()
    match = re.search(r"(?:^|[,\s])max-age=([0-9]{1,9})(?:$|[,\s])", control, re.ASCII)
    return float(match[1]) if match and "no-" not in control else 0.0


class Monitor:
    """What monitors and the page read: the miner's state, alike for every firmware, and its last minutes.

    The event loop calls `sample` at `sample_at`, a time of time.monotonic().
    """

    def __init__(self, settings: Settings, miner: Miner) -> None:
        self._settings = settings
        self._miner = miner
        # What earlier scrapes found: the firmware, and which joined requests it does not take.
        self._firmware = ""
        self._refused: frozenset[str] = frozenset()
        self._newest: tuple[float, Any] = (float("-inf"), None)  # when it was asked for, and the Status
        self.sample_at = time.monotonic() + FIRST_SAMPLE if settings.history else float("inf")

    @functools.cached_property
    def history(self) -> Any:
        """The History."""
        from chi.status.history import History  # here, as most who start chi never ask for them

        return History(self._settings.history)

    def status(self, client: Client, max_age: float) -> tuple[Any, float]:
        """Return the Status and its age in seconds, up to `max_age`; ChiError if there is none."""
        asked, status = self._newest
        if status is None or asked < client.arrived - max_age or asked <= self._miner.changed:
            return self.scrape(client)[0], 0.0
        self._miner.counters["coalesced_requests", ""] += 1
        return status, max(client.arrived - asked, 0.0)

    def scrape(self, client: Client, sample: bool = False) -> tuple[Any, dict[str, bool]]:
        """Return the Status, and which commands for it succeeded; ChiError if there is none.

        With `sample` it has only what a sample of the history needs. Run again after each Parked, it asks the
        same again and finds the answers there: so what is remembered changes only at the end.
        """
        from chi.status import firmware, history, values

        replies: dict[str, Any] = {}
        client.known = client.known or (self._firmware or firmware.UNKNOWN, self._refused)
        known, refused = client.known[0], set(client.known[1])
        unwanted = history.NOT_SAMPLED if sample else ()
        while (request := firmware.next_request(replies, refused, known, unwanted)) is not None:
            found = firmware.members(request, self._ask_parsed(client, request))
            if found is None:
                refused.add(request)
            else:
                replies.update(found)
        if not values.succeeded(replies.get("summary")):
            said = values.text(values.envelope(replies.get("summary")).get("Msg"))
            self._miner.counters["miner_errors", "no-summary"] += 1
            raise ChiError("no-summary", why=_quote(said) if said else "there is none in its reply")
        # Who tells one by one what it did not tell joined does not join, however it said so.
        self._firmware, self._refused = firmware.recognise(replies, known), frozenset(refused)
        status = firmware.normalise(replies, time.time())
        if not sample:
            self._newest = (client.arrived, status)
            # What was asked for somebody else need not be asked again, if it is nearly time.
            if client.arrived >= self.sample_at - self.history.interval / 10:
                self._add(client.arrived, status)
        return status, firmware.command_success(replies, self._firmware)

    def sample(self, now: float) -> None:
        """Ask the miner for a sample of the history."""
        interval = self.history.interval
        self.sample_at = now + 2 * interval  # in case that this one fails
        timeout = min(self._settings.timeout, interval)
        client = Client(now, timeout, b"", lambda: self._sample(client))
        self._sample(client)

    def _sample(self, client: Client) -> None:
        status: Any = None
        try:
            status, _ = self.scrape(client, sample=True)
        except Parked:
            return
        except ChiError:  # which Miner has counted
            pass
        except Exception:  # one fault must not end the service of all
            log.exception("fault while taking a sample")
        self._add(client.arrived, status)

    def _add(self, asked: float, status: Any) -> None:
        self.history.add(asked, status)
        self.sample_at = asked + self.history.interval

    def _ask_parsed(self, client: Client, command: str) -> Any:
        """Return the parsed reply; None if it is broken, ChiError if it is of no use to ask for others."""
        try:
            return parse_json(self._miner.ask(client, encode_request({"command": command})).body)
        except ChiError as error:
            joining_failed = error.name == "closed" and "+" in command
            if error.status in (503, 504) or (error.name in MINER_DOWN and not joining_failed):
                raise
            return None


class Handlers:
    """What the routes lead to. The environ has `chi.client`, the Client, beside what WSGI puts there."""

    def __init__(self, settings: Settings, policy: Policy, miner: Miner, monitor: Monitor) -> None:
        self._settings = settings
        self._policy = policy
        self._miner = miner
        self._monitor = monitor

    def get(self, path: str) -> bottle.HTTPResponse:
        """GET (and HEAD) /<command>..."""
        return self._forward(read_path(bottle.request.environ["PATH_INFO"]))

    def post(self, path: str) -> bottle.HTTPResponse:
        """POST /<command>..."""
        if read_input(bottle.request.environ):
            raise ChiError("unexpected-body")
        return self._forward(read_path(bottle.request.environ["PATH_INFO"]))

    def post_body(self) -> bottle.HTTPResponse:
        """POST /."""
        return self._forward(read_body(read_input(bottle.request.environ)))

    def healthz(self) -> bottle.HTTPResponse:
        """GET /healthz: the process is alive."""
        return respond(Reply(envelope("S", 200, "chi is alive")))

    def readyz(self) -> bottle.HTTPResponse:
        """GET /readyz: the miner answers."""
        try:
            self._miner.ask(bottle.request.environ["chi.client"], encode_request({"command": "version"}))
        except ChiError as error:
            raise ChiError("not-ready", why=error) from None
        return respond(Reply(envelope("S", 200, f"miner {self._miner.name} answers")))

    def metrics(self) -> bottle.HTTPResponse:
        """GET /metrics: for Prometheus. Whatever fails at the miner is data here, never an error."""
        from chi.status import prometheus  # here, as most who start chi never ask for them

        client = bottle.request.environ["chi.client"]
        limit = scrape_timeout(bottle.request.environ)
        client.deadline = min(client.deadline, client.arrived + limit)
        status: Any = None
        commands: dict[str, bool] = {}
        with contextlib.suppress(ChiError):  # which Miner has counted
            status, commands = self._monitor.scrape(client)
        counts: dict[str, dict[str, float]] = collections.defaultdict(dict)
        for (what, kind), count in self._miner.counters.items():
            counts[what][kind] = count
        figures: dict[str, Any] = {what: counts[what] for what in COUNTED_BY_KIND}
        figures.update({what: counts[what].get("", 0) for what in COUNTED}, **process_figures())
        took = time.monotonic() - client.arrived
        own = prometheus.Own(__version__, scrape_duration=took, commands=commands, **figures)
        body = prometheus.prometheus(status, own, self._settings.metrics_pool_user)
        headers = [("Content-Type", prometheus.CONTENT_TYPE), *JSON_HEADERS[1:]]
        return bottle.HTTPResponse(body, 200, headers)

    def status(self) -> bottle.HTTPResponse:
        """GET /status.json: the miner's state, alike for every firmware."""
        from chi.status.model import to_json

        environ = bottle.request.environ
        status, age = self._monitor.status(environ["chi.client"], accepted_age(environ))
        users = self._settings.metrics_pool_user or asks_for(environ, "users")
        response = self._document(to_json(status, users))
        if age >= 1:
            response.set_header("Age", str(int(age)))
        return response

    def history(self) -> bottle.HTTPResponse:
        """GET /history.json: what the miner told in the last minutes. It is not asked."""
        return self._document(self._monitor.history.to_json(time.monotonic(), time.time()))

    def dashboard(self) -> bottle.HTTPResponse:
        """GET /dashboard: the page, which reads the two above."""
        body, allowed = read_dashboard()
        return page(body, 200, allowed)

    def favicon(self) -> bottle.HTTPResponse:
        """GET /favicon.ico: none; browsers need not ask again today."""
        return bottle.HTTPResponse(b"", 204, {"Cache-Control": "max-age=86400"})

    def robots(self) -> bottle.HTTPResponse:
        """GET /robots.txt: nothing here is for search engines."""
        return bottle.HTTPResponse(b"User-agent: *\nDisallow: /\n", 200, {"Content-Type": "text/plain"})

    def refuse(self) -> NoReturn:
        """Any other method for what can only be read."""
        raise method_error("GET, HEAD")

    def guard(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler, as bottle's plugins do: the rungs for every request, and errors as responses."""

        def guarded(*args: Any, **kwargs: Any) -> bottle.HTTPResponse:
            environ = bottle.request.environ
            try:
                self._policy.admit(environ)
                check_path(environ)
                response = handler(*args, **kwargs)
            except ChiError as error:
                if error.name in DENIALS:
                    self._miner.counters["denied_requests", error.name] += 1
                response = error.page or respond(error)
            for name, value in self._policy.cors(environ):
                response.set_header(name, value)
            return response

        return guarded

    def _forward(self, plan: Plan) -> bottle.HTTPResponse:
        environ, client = bottle.request.environ, bottle.request.environ["chi.client"]
        try:
            report = self._policy.judge(environ, plan.members)
        except ChiError as error:
            if error.name == "confirm" and environ["REQUEST_METHOD"] == "GET":
                error.page = confirmation(plan.members)
            raise
        if environ["REQUEST_METHOD"] == "HEAD" and not report:
            raise method_error("GET, POST")
        pretty = asks_for(environ, "pretty")
        if not self._policy.cors(environ):  # else headers are missing as well
            client.forwarded = (plan.request, pretty)
        return respond(self._miner.ask(client, plan.request, pretty, shared=report))

    def _document(self, value: Any) -> bottle.HTTPResponse:
        """What chi tells itself, as JSON."""
        body = ENCODER.encode(value).encode("ascii")
        return respond(Reply(_indent(body) if asks_for(bottle.request.environ, "pretty") else body))


def bottle_error(error: bottle.HTTPError) -> bytes:
    """Answer what bottle refuses: its own error pages are HTML."""
    if error.status_code == 404:  # every path that begins with / has a route
        ours = ChiError("bad-path", why="it does not begin with /")
    elif error.status_code == 405:
        ours = method_error(", ".join(sorted({*error.headers["Allow"].split(","), "HEAD"})))
    else:
        ours = ChiError("internal")
    bottle.response.status, headers, body = answer(ours)
    bottle.response.headers.update(headers)
    return body


def create_app(settings: Settings, policy: Policy, miner: Miner, monitor: Monitor) -> bottle.Bottle:
    """Return the WSGI application."""
    handlers = Handlers(settings, policy, miner, monitor)
    app = bottle.Bottle()
    app.install(handlers.guard)
    app.default_error_handler = bottle_error
    for path, handler in (
        ("/healthz", handlers.healthz),
        ("/readyz", handlers.readyz),
        ("/metrics", handlers.metrics),
        ("/status.json", handlers.status),
        ("/history.json", handlers.history),
        ("/dashboard", handlers.dashboard),
        ("/favicon.ico", handlers.favicon),
        ("/robots.txt", handlers.robots),
    ):
        app.get(path, callback=handler)
        app.route(path, ["POST", "ANY"], handlers.refuse)
    everything = "/<path:re:[\\s\\S]*>"  # newlines included
    app.post("/", callback=handlers.post_body)
    app.get(everything, callback=handlers.get)
    app.post(everything, callback=handlers.post)
    return app


# These need no miner: they are answered first.
OWN_PATHS = frozenset({"/healthz", "/history.json", "/dashboard", "/favicon.ico", "/robots.txt"})

# --- Serving --------------------------------------------------------------------------------------

GRACE = 0.3  # how long after SIGTERM an idle connection may still send a request
DRAIN = 1.5  # how long what is in flight may take after SIGTERM; the services allow 5 s and more
LOOK = 10.0  # how often systemd's status line is made sure of, also while nobody asks
STORED = "chi"  # name of the listening sockets in systemd's descriptor store
PROBE_AFTER = 3.0  # from the miner's first answer to the question whether it may be changed
SLICE = 0.01  # how long the loop answers before it looks for new requests
LINGER = 2.0  # how long a client that was refused may go on sending; looked at with the idle ones
HEADER_TIME = 30  # a request must have come whole after this long; dripping ones are closed
MAX_DESCRIPTORS = 1024  # room for every viewer of a LAN; what looks at each costs 2 ms a turn then
SPARE_DESCRIPTORS = 64  # beyond the clients' connections: the miner's, the log, what Python opens
EVICT_AHEAD = 8  # so many below the limit, idle connections begin to make room


def without_path(record: logging.LogRecord) -> bool:
    """Take the path out of waitress's messages: it may hold a secret."""
    record.msg = str(record.msg).partition(" while serving ")[0]
    return True


logging.getLogger("waitress").addFilter(without_path)


class Request(HTTPRequestParser):
    """A client's HTTP request as waitress parses it, stamped when it is complete."""

    command = path = ""  # for waitress, which does not set them where the first line is wrong
    client: Client | None = None
    arrived = 0.0
    raw = b""

    def parse_header(self, header_plus: bytes) -> None:
        """As waitress, which lets some faults through: http://[/, a Content-Length of 5,000 digits."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise ParsingError(str(error)[:60]) from None
        if not self.command:  # pragma: no cover - only waitress 2.1 gets here
            raise ParsingError("Start line is invalid")

    def received(self, data: bytes) -> int:
        whole = not self.header_plus and self.body_rcv is None
        count: int = super().received(data)
        if self.completed:
            self.arrived = time.monotonic()
            self.expect_continue = False  # there is nothing to go on with; waitress would wait for it
            if whole and self.body_rcv is None:
                self.raw = data[:count]
        return count


class Task(WSGITask):
    """Runs the application for one request, once: one that was parked is finished without it."""

    def execute(self) -> None:
        client = self.request.client
        outcome = client.answers.get(client.forwarded)
        if outcome is None:
            super().execute()
            if self.request.command == "HEAD":  # for waitress 2.1 the body is missing: it would hang up
                self.close_on_finish = False
        else:
            write_answer(self, answer(outcome))

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ["chi.client"] = self.request.client
        # check_path() judges what came; bottle gets what it can decode, which each version does in its way.
        path = environ["chi.path"] = environ["PATH_INFO"]
        environ["PATH_INFO"] = path.encode("latin-1").decode("utf-8", "replace").encode().decode("latin-1")
        return environ

    def finish(self) -> None:
        super().finish()
        account(self)


class BadRequestTask(ErrorTask):
    """Answers what waitress refuses (400, 413, 431, 501) in chi's own envelope."""

    def execute(self) -> None:
        error = self.request.error
        body = envelope("E", error.code, f"{error.reason}: {error.body}")
        self.close_on_finish = self.channel.refused = True
        write_answer(self, Answer(error.code, [*JSON_HEADERS, ("Connection", "close")], body))

    def finish(self) -> None:
        super().finish()
        account(self)


def write_answer(task: Task | BadRequestTask, what: Answer) -> None:
    """Write a whole response at once, headers and body in one segment where they fit."""
    task.status = f"{what.status} {http.client.responses.get(what.status, '')}"
    task.response_headers = what.headers[:]
    task.content_length = len(what.body)
    header: bytes = task.build_response_header()
    task.wrote_header = True
    task.channel.write_soon(header if task.request.command == "HEAD" else header + what.body)


def account(task: Task | BadRequestTask) -> None:
    """Count an answered request, and log it if that is asked for."""
    task.channel.server.task_dispatcher.miner.counters["http_requests", task.status[:3]] += 1
    request = task.request
    if request.client is None or not access_log.isEnabledFor(logging.INFO):
        return
    # Without the parameter, which may be a secret.
    command = "/" + request.path[1:].partition("/")[0]
    if not PLAIN_PATH.fullmatch(command):  # may be cgminer's text protocol, command|parameter
        command = "(odd)"
    address, method = task.channel.addr[0], request.command or "-"
    took = time.monotonic() - request.client.arrived
    access_log.info("%s %s %s %s %.4f s", address, method, command, task.status[:3], took)


access_log = logging.getLogger("chi.access")
PLAIN_PATH = re.compile(r"/[\w+.-]*", re.ASCII)


class Channel(HTTPChannel):
    """A client's connection."""

    parser_class = Request
    task_class = Task
    error_task_class = BadRequestTask
    began: float  # when the request that is being received began, or the last one ended
    delayed = False  # whether the next request waits until the reply before it is sent
    refused = False  # whether what came was no request: the client may still be sending
    lingering = 0.0  # until when what it sends is read and thrown away

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.began = time.monotonic()

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.began = time.monotonic()
        received: bool = super().received(data)
        return received

    def service(self) -> None:
        """Answer the first of `requests`, or leave it parked."""
        if self.server.task_dispatcher.stopping:
            self.requests[0].headers["CONNECTION"] = "close"  # as if the client had asked for it
        try:
            super().service()
        except Parked:
            return
        self.began = time.monotonic()

    def readable(self) -> bool:
        return bool(self.lingering or super().readable())

    def handle_read(self) -> None:
        if self.lingering:
            self.recv(LARGE)
        else:
            super().handle_read()

    def handle_close(self) -> None:
        # Closed at once, what the client sends would be answered with a reset, and it would lose our answer.
        if self.refused and self.connected and not self.lingering:
            self.lingering = time.monotonic() + LINGER
            self.will_close = False
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_close()

    def handle_expt_event(self) -> None:
        """HTTP has no urgent data, and poll() would tell of it again and again."""
        self.handle_close()

    def handle_write(self) -> None:
        super().handle_write()
        if self.delayed and not self.total_outbufs_len:
            self.delayed = False
            self.server.task_dispatcher.resume(self)

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent what is not read yet."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    @property
    def idle(self) -> bool:
        """Whether it can be closed with no answer lost."""
        return not self.requests and not self.total_outbufs_len and not self.will_close


class Server(TcpWSGIServer):
    """A listening socket."""

    channel_class = Channel

    def pull_trigger(self) -> None:
        """Handlers run in the loop: it need not be woken."""

    def readable(self) -> bool:
        if self.in_connection_overflow:  # those that were busy may be idle by now
            self._make_room()
        return bool(super().readable())

    def handle_accept(self) -> None:
        if len(self._map) >= self.adj.connection_limit - EVICT_AHEAD:
            self._make_room()
        super().handle_accept()

    def _make_room(self) -> None:
        """Close the connection that is idle for longest: nobody can lock others out by connecting."""
        idle = [entry for entry in self._map.values() if isinstance(entry, Channel) and entry.idle]
        for channel in sorted(idle, key=lambda channel: channel.began):
            if not channel.has_unread:
                channel.will_close = True
                return

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        for channel in self.active_channels.values():
            late = channel.request is not None and time.monotonic() - channel.began > HEADER_TIME
            if late or 0 < channel.lingering < time.monotonic():
                channel.will_close = True


class Gateway:
    """The event loop and what it carries; for waitress, its task dispatcher."""

    def __init__(self, settings: Settings, policy: Policy, listening: Sequence[socket.socket]) -> None:
        self.sockets: dict[int, Any] = {}  # wasyncore's map
        self.helpers = Helpers(settings.threads, self.wake)
        self.miner = Miner(settings, self.sockets, self.helpers)
        self._timeout = settings.timeout
        self._ready: collections.deque[Channel] = collections.deque()
        self._stopping, self._notified_stop = float("inf"), False
        self._notifier = Notifier(os.environ)
        self._listening = listening
        self._look_at = time.monotonic() if self._notifier.listens else float("inf")
        self._healthy = "answers"  # how a miner is described that does
        self._state = self._since = ""  # what systemd was told last, and since when the miner is down
        self._probed, self._probe_at = False, float("inf")
        adjustments = server_adjustments(listening)
        self.policy = policy
        self.monitor = Monitor(settings, self.miner)
        app = create_app(settings, policy, self.miner, self.monitor)
        self.servers = [
            Server(
                app,
                map=self.sockets,
                _sock=sock,
                dispatcher=self,
                adj=adjustments,
                sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
                bind_socket=False,
            )
            for sock in listening
        ]

    def add_task(self, channel: Channel) -> None:
        """Take a channel whose next request is complete; it is answered after waitress's own turn."""
        request = channel.requests[0]
        request.client = Client(request.arrived, self._timeout, request.raw, lambda: self.resume(channel))
        if request.path in OWN_PATHS:
            self._ready.appendleft(channel)
        else:
            self._ready.append(channel)

    def resume(self, channel: Channel) -> None:
        """Have a channel's request answered, after those that are ready already."""
        self._ready.append(channel)

    def shutdown(self) -> None:
        """waitress's: there are no threads to end."""

    def wake(self) -> None:
        """End the wait for events; from any thread or signal handler."""
        with contextlib.suppress(OSError):  # run() has ended
            self.servers[0].trigger.pull_trigger()

    def stop(self) -> None:
        """Begin to end run(): nothing new is accepted, and what is in flight gets DRAIN seconds."""
        self._stopping = min(self._stopping, time.monotonic())
        self.wake()

    def run(self) -> None:
        """Serve until stop()."""
        self.miner.on_change = self._miner_changed
        self.helpers.submit(socket.getfqdn, self.policy.learn_name)
        self._notifier.store(self._listening)
        self._notifier.send("READY=1")
        timeout = 0.0
        while not self._drained():
            wasyncore.loop(timeout=timeout, use_poll=True, map=self.sockets, count=1)
            self.helpers.deliver()
            self._serve(time.monotonic() + SLICE)
            now = time.monotonic()
            if now >= self._probe_at:
                self._probe()
            if now >= self._look_at:
                self._look(now)
            if now >= self.monitor.sample_at:
                self.monitor.sample(now)
            timeout = min(self.miner.turn(now), self._notifier.ping(now))
            if self.stopping:
                timeout = TICK
            if self._ready:
                timeout = 0.0
        wasyncore.close_all(self.sockets)

    def _serve(self, until: float) -> None:
        while self._ready and time.monotonic() < until:
            channel = self._ready.popleft()
            try:
                self._answer(channel)
            except Exception:  # one fault must not end the service of all
                log.exception("fault while answering a request")
                channel.handle_close()

    def _answer(self, channel: Channel) -> None:
        if channel.total_outbufs_len:  # a pipelined request: its turn comes when the reply before is sent
            channel.delayed = True
        elif not self.miner.ask_again(channel.requests[0].client):
            channel.service()

    @property
    def stopping(self) -> bool:
        """Whether stop() was called: each response is the last on its connection."""
        return self._stopping < float("inf")

    def _drained(self) -> bool:
        """After stop(): whether all is answered and sent, or time is up."""
        if not self.stopping:
            return False
        since = time.monotonic() - self._stopping
        if not self._notified_stop:
            self._notified_stop = True
            self._notifier.send("STOPPING=1")
            for server in self.servers:
                server.accepting = False
        if since >= DRAIN:
            self.miner.give_up()
            self._serve(float("inf"))
            return True
        channels = [entry for entry in self.sockets.values() if isinstance(entry, Channel)]
        for channel in channels:
            channel.will_close = channel.will_close or (since >= GRACE and channel.idle)
        return not channels

    def _miner_changed(self, answers: bool, sentence: str) -> None:
        log.log(logging.INFO if answers else logging.WARNING, "%s", sentence)
        self._since = time.strftime("%H:%M")
        self._show()
        if answers and self.policy.is_open and not self._probed:
            self._probe_at = time.monotonic() + PROBE_AFTER

    def _probe(self) -> None:
        """Ask the miner, once, whether this host may change it, and log what that means."""
        self._probe_at, self._probed = float("inf"), True
        client = Client(time.monotonic(), self._timeout, b"", lambda: self._log_access(client))
        with contextlib.suppress(Parked, ChiError):
            self.miner.ask(client, encode_request({"command": "privileged"}), shared=False)

    def _show(self) -> None:
        """Tell systemd how the miner is, if that is news."""
        trouble = self.miner.trouble
        state = f"miner {self.miner.name} {f'{trouble} since {self._since}' if trouble else self._healthy}"
        if state != self._state:
            self._state = state
            self._notifier.send(f"STATUS={state}")

    def _look(self, now: float) -> None:
        """Ask the miner for its version, for systemd's status line."""
        self._look_at = now + LOOK
        client = Client(now, self._timeout, b"", lambda: self._see(client))
        self._see(client)

    def _see(self, client: Client) -> None:
        try:
            reply = self.miner.ask(client, encode_request({"command": "version"}), shared=True)
        except Parked:
            return
        except ChiError:
            pass
        else:
            name = (section(json.loads(reply.body), "STATUS") or [{}])[0].get("Description")
            # Printable, so without the newline that would begin another message to systemd.
            software = "".join(filter(str.isprintable, name))[:60] if isinstance(name, str) else ""
            self._healthy = f"answers ({software})" if software else "answers"
        self._show()

    def _log_access(self, client: Client) -> None:
        (outcome,) = client.answers.values()
        if not isinstance(outcome, ChiError):
            log.warning("%s", warn_of(may_write(json.loads(outcome.body))))


def server_adjustments(listening: Sequence[socket.socket]) -> Adjustments:
    """Waitress's settings for an appliance on a LAN."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return Adjustments(
        sockets=list(listening),
        ident="chi",
        # Nothing is accepted beyond; Server.handle_accept sees to it that this is not reached by idling.
        connection_limit=wanted - SPARE_DESCRIPTORS,
        channel_timeout=120,  # longer than any monitor's interval, so that it keeps its connection
        cleanup_interval=10,
        asyncore_use_poll=True,  # select() fails past descriptor 1023
        log_socket_errors=False,  # a client that goes is no event
        max_request_header_size=32 << 10,  # a parameter of MAX_REQUEST bytes, every one percent-encoded
        max_request_body_size=MAX_BODY,
        # Replies stay in memory, and writing one never waits: the loop that writes is the one that sends.
        outbuf_overflow=1 << 40,
        outbuf_high_watermark=1 << 40,
        clear_untrusted_proxy_headers=False,  # chi believes REMOTE_ADDR and no header
    )


def take_number(environ: Any, name: str) -> int:
    """Return a number from the environment, 0 where there is none, and take it away: it is for us alone."""
    text = environ.pop(name, "")
    return int(text) if text.isdigit() else 0


class Notifier:
    """systemd's notification protocol (sd_notify(3)): datagrams to $NOTIFY_SOCKET, if there is one."""

    def __init__(self, environ: Any) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        interval = take_number(environ, "WATCHDOG_USEC") / 1e6
        watched = take_number(environ, "WATCHDOG_PID") in (0, os.getpid())
        self._interval = interval / 2 if watched else 0.0
        self._next_ping = 0.0

    @property
    def listens(self) -> bool:
        """Whether there is anybody to notify."""
        return bool(self._address)

    def store(self, listening: Sequence[socket.socket]) -> None:
        """Have systemd keep these sockets, in place of any before, for the process that comes next."""
        self.send(f"FDSTOREREMOVE=1\nFDNAME={STORED}")
        self.send(f"FDSTORE=1\nFDNAME={STORED}", [sock.fileno() for sock in listening])

    def send(self, message: str, descriptors: Sequence[int] = ()) -> None:
        """Send `message`, lines of NAME=value, with `descriptors`."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.connect(address)
                socket.send_fds(sock, [message.encode()], list(descriptors))
            except OSError as error:
                log.debug("systemd cannot be notified: %s", error)

    def ping(self, now: float) -> float:
        """Tell the watchdog, in time, that the event loop turns; return seconds until the next time."""
        if not self._interval:
            return IDLE
        if now >= self._next_ping:
            self._next_ping = now + self._interval
            self.send("WATCHDOG=1")
        return self._next_ping - now


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Return the listening sockets: those of a socket unit as they are, or our own; OSError.

    Our own of before a restart are taken again where they listen as they should: their queues are not lost.
    """
    passed = passed_sockets()
    given = [sock for name, sock in passed if name != STORED]
    port, hosts = settings.http_port, () if given else settings.listen or ("0.0.0.0", "::")
    wanted = [(host, *found) for host in hosts for found in look_up(host, port, socket.AI_PASSIVE)]
    stored = [sock for name, sock in passed if name == STORED]
    for sock in stored[:]:
        if not any(_listens_on(sock, family, address) for _, family, address in wanted):
            stored.remove(sock)
            # systemd's copy would hold the port until systemd has dropped it; so it goes for all.
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
    sockets = given
    for host, family, found in wanted:
        address = (found[0], port, *found[2:])  # where any port will do, the one that the first took
        try:
            again = [sock for sock in stored if _listens_on(sock, family, address)]
            sockets.append(again[0] if again else _listen(family, address))
        except OSError as error:
            # By default IPv6 is used where the system has it.
            if not settings.listen and host == "::" and error.errno in NO_IPV6:
                continue
            raise
        port = port or sockets[-1].getsockname()[1]
    return sockets


def passed_sockets() -> list[tuple[str, socket.socket]]:
    """Return what systemd passed (sd_listen_fds_with_names(3)): each socket and its name."""
    count, names = take_number(os.environ, "LISTEN_FDS"), os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if take_number(os.environ, "LISTEN_PID") != os.getpid():
        return []
    sockets = [socket.socket(fileno=3 + number) for number in range(count)]
    for sock in sockets:
        sock.setblocking(False)
        sock.set_inheritable(False)
    return list(zip(names + [""] * count, sockets))


def _listens_on(sock: socket.socket, family: int, address: Any) -> bool:
    """Whether a socket has an address; port 0 is any port."""
    own = sock.getsockname()
    return sock.family == family and own[0] == address[0] and address[1] in (0, own[1])


NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def _listen(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


# --- Command line ---------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; the options and their defaults are the fields of Settings."""
    parser = Parser(
        prog="chi-server",
        description="Start HTTP interface to the monitoring API (the CGMiner RPC API)",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for field in dataclasses.fields(Settings):
        keywords = dict(field.metadata)
        names = keywords.pop("names")
        # A default that is empty is told by the help text, or need not be.
        default = argparse.SUPPRESS if field.default in ((), "") or field.default is False else field.default
        parser.add_argument(*names, dest=field.name, default=default, **keywords)
    for name, text in (
        ("demo", "Serve a simulated miner"),
        ("check", "Ask the miner, say what is there, and exit: 0 if it answers, 1 if not"),
    ):
        parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Return what the parsed command line says; ValueError says what is wrong with it."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        value: Any = getattr(arguments, field.name, field.default)
        several = isinstance(field.default, tuple)
        if [] in (value if several else [value]):  # what argparse makes of --timeout=--, before Python 3.13
            raise ValueError(f"argument {field.metadata['names'][0]}: expected one argument")
        values[field.name] = tuple(value) if several else value
    return Settings(**values)


def ask_once(settings: Settings, command: str) -> Any:
    """Return the miner's reply to `command`, parsed; ChiError if there is none."""
    outcomes: list[bytes | ChiError] = []
    sockets: dict[int, Any] = {}
    name = host_and_port(settings.api_host, settings.api_port)
    exchange = Exchange(
        name, encode_request({"command": command}), sockets, lambda _, outcome: outcomes.append(outcome)
    )
    try:
        exchange.connect(look_up(settings.api_host, settings.api_port))
    except socket.gaierror as error:
        raise ChiError("unknown-host", miner=name, why=error.strerror) from None
    while not outcomes:
        wasyncore.loop(timeout=TICK, use_poll=True, map=sockets, count=1)
        now = time.monotonic()
        if now >= exchange.started + settings.timeout:
            exchange.finish(ChiError("timeout", seconds=settings.timeout))
        elif now >= exchange.heard + QUIET:
            exchange.settle()
    exchange.close()
    if isinstance(outcomes[0], ChiError):
        raise outcomes[0]
    return parse_json(read_reply(outcomes[0]).body)


def check(settings: Settings, policy: Policy) -> int:
    """Print what is there, in words; return the exit status."""
    try:
        version = (section(ask_once(settings, "version"), "VERSION") or [{}])[0]
    except ChiError as error:
        print(f"Miner:  {error}")
        return 1
    where = host_and_port(settings.api_host, settings.api_port)
    software = next((f"{key} {value}" for key, value in version.items() if key not in ("API", "STATUS")), "")
    print(f"Miner:  {where} answers: {software or 'unknown software'}, API {version.get('API', 'unknown')}")
    print(f"Pools:  {describe_pools(settings)}")
    try:
        writes = may_write(ask_once(settings, "privileged"))
    except ChiError:
        writes = None
    print(f"Access: {ACCESS[writes]}")
    print(f"chi:    would serve on {serving_on(settings)}: {policy.exposure}")
    if policy.is_open:
        print(f"        {warn_of(writes)}")
    return 0


def serving_on(settings: Settings) -> str:
    """Where chi listens, in words."""
    return f"port {settings.http_port} of {', '.join(settings.listen) or 'every interface'}"


def describe_pools(settings: Settings) -> str:
    """How many pools are alive, in words."""
    try:
        pools = section(ask_once(settings, "pools"), "POOLS")
    except ChiError as error:
        return str(error)
    alive = sum(pool.get("Status") == "Alive" for pool in pools)
    return f"{alive} of {len(pools)} alive"


def main(argv: Sequence[str] | None = None) -> int:
    """Run chi-server; return its exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    try:
        settings = read_settings(arguments)
    except ValueError as error:
        parser.error(str(error))
    elsewhere = (settings.api_host, settings.api_port) != (Settings.api_host, Settings.api_port)
    if hasattr(arguments, "demo") and elsewhere:
        parser.error("--demo serves a miner of its own: --api_host and --api_port have no use beside it")
    for contradicts, why in CONTRADICTIONS:
        if contradicts(settings):
            parser.error(why)
    try:
        policy = Policy(settings)
    except ValueError as error:
        parser.error(f"argument --token-file: {settings.token_file}: {error}")
    logging.basicConfig(format="%(levelname)s %(message)s", level=settings.log_level.upper())
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    access_log.setLevel(logging.INFO if settings.access_log else logging.CRITICAL)
    if hasattr(arguments, "demo"):
        settings = start_demo(settings)
    if hasattr(arguments, "check"):
        return check(settings, policy)
    try:
        listening = open_sockets(settings)
    except OSError as error:
        print(f"chi-server: error: cannot serve on {serving_on(settings)}: {error.strerror}", file=sys.stderr)
        return 1
    gateway = Gateway(settings, policy, listening)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: gateway.stop())
    for server in gateway.servers:
        where = host_and_port(server.effective_host, server.effective_port)
        log.info("serving http://%s for the miner at %s", where, gateway.miner.name)
    log.info("whoever reaches it gets %s", policy.exposure)
    gc.freeze()  # what exists now stays: spare the collector its looking at it
    gateway.run()
    log.info("stopped")
    return 0


def start_demo(settings: Settings) -> Settings:
    """Start a simulated miner on a free port; return the settings that lead to it."""
    from chi.demo import DemoMiner

    demo = DemoMiner()
    demo.start()
    return dataclasses.replace(settings, api_host=demo.address[0], api_port=demo.address[1])
