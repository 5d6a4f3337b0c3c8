"""Everything that can go wrong: ChiError, and the table of error names, HTTP statuses and messages.

The name is what logs and counters show, the status and the message are what a client gets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

# Name: HTTP status and message. The name is what logs and counters show.
ERRORS = {
    "bad-path": (400, "The path is not percent-encoded UTF-8: {why}."),
    "bad-body": (
        400,
        'The body is not a request of the API, such as {{"command":"gpu","parameter":"0"}}: {why}.',
    ),
    "bad-range": (400, "There is no range {range} of the history: it is one of {ranges}, or left out."),
    "misplaced": (
        400,
        "A command goes into the path, as in /pools or /gpu/0, or into the body of POST /; not into {where}.",
    ),
    "unexpected-body": (
        400,
        "A request in the path has no body. Send the API's own request to / or leave the body out.",
    ),
    "bad-text-request": (400, "The miner speaks the text protocol, and cannot be sent this: {why}."),
    "token": (
        401,
        "This needs the token: as Authorization: Bearer <token>, or as password (Basic) of any user.",
    ),
    "read-only": (403, "{command} may change the miner, and chi serves only reports ({option})."),
    "cross-site": (403, "This was sent by a page of {origin}, not of {host}."),
    "confirm": (403, "{command} may change the miner. A browser has to POST it, which its user confirms."),
    "method": (405, "Only {allow} can be used here."),
    "request-too-large": (
        413,
        "The request has {size} bytes as the API reads it, of {limit} that it can read.",
    ),
    "no-miner": (404, "This chi serves several miners, each below its name: {names}."),
    "unknown-miner": (404, "No miner of this chi is called {miner}."),
    "miner-gone": (503, "This miner has been taken off the list of those that chi serves.{further}"),
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
        "not in its api-allow list (cpuminer, ccminer: --api-bind), or when it speaks only the text protocol "
        "and chi does not know it (--protocol text).",
    ),
    "empty": (502, "The miner sent an empty reply: it may speak only the text protocol (cpuminer, ccminer)."),
    "text-protocol": (502, "The miner's reply, in the text protocol, cannot be read: {why}."),
    "no-summary": (502, "The miner gives no summary of itself: {why}."),
    "not-json": (502, "The miner's reply is not JSON, and no repair is known: {why}."),
    "cut-off": (502, "The miner's reply was cut off after {size} bytes."),
    "too-deep": (502, "The miner's reply is nested more than {limit} levels deep."),
    "reply-too-large": (502, "The miner's reply is larger than {limit} bytes."),
    "pretty-too-large": (502, "Indented, the reply is larger than {limit} bytes. Ask without ?pretty."),
    "busy": (503, "Too many requests already wait for the miner. Try again in a moment."),
    "hung": (503, "The miner has not answered for {seconds:.0f} s and others wait already. Try again later."),
    "not-sent": (503, "Others were before this request for {seconds:g} s; it was not sent to the miner."),
    "on-its-way": (
        503,
        "The miner is slow: its status is on its way, for {seconds:.0f} s so far. Try again in a moment.",
    ),
    "not-ready": (503, "{why}"),
    "stopping": (503, "chi is stopping; the request was given up.{further}"),
    "timeout": (504, "The miner did not answer within {seconds:g} s.{further}"),
    "connect-timeout": (
        504,
        "The miner's API at {miner} did not accept a connection within {seconds:g} s. Nothing was sent.",
    ),
    "name-timeout": (
        504,
        "The name of the miner's host {miner} could not be looked up within {seconds:g} s. Nothing was sent.",
    ),
}
TIMEOUTS = frozenset({"timeout", "connect-timeout", "name-timeout"})
# These tell of the miner, not of its reply: it cannot be talked to.
MINER_DOWN = TIMEOUTS | {"refused", "unreachable", "unknown-host", "closed"}
# What can come of a request to the miner.
OF_THE_MINER = frozenset(name for name, (status, _) in ERRORS.items() if status in (502, 504))
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


def quote(text: str) -> str:
    """The beginning of a foreign text, in printable ASCII."""
    return json.dumps(text[:60])
