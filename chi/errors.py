"""Everything that can go wrong: ChiError, and the table of error names, HTTP statuses and messages.

Logs and counters use the name; a client gets the status and the message.
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
    "bad-range": (400, "Unknown range {range}. Use one of {ranges}, or omit it."),
    "misplaced": (
        400,
        "A command goes into the path, as in /pools or /gpu/0, or into the body of POST /; not into {where}.",
    ),
    "unexpected-body": (
        400,
        "A command in the path must not have a body. Send the API's own request to /, or omit the body.",
    ),
    "bad-text-request": (400, "The miner speaks the text protocol, which cannot carry this request: {why}."),
    "token": (
        401,
        "This requires the token: as Authorization: Bearer <token>, or as the password (Basic) of any user.",
    ),
    "read-only": (403, "{command} may change the miner, and chi serves only reports ({option})."),
    "cross-site": (403, "The request was sent by a page of {origin}, not of {host}."),
    "confirm": (
        403,
        "{command} may change the miner. In a browser, the user must confirm it (POST).",
    ),
    "method": (405, "Only {allow} can be used here."),
    "request-too-large": (
        413,
        "The request has {size} bytes in the API's form. The API reads at most {limit}.",
    ),
    "no-miner": (404, "This server has several miners, each below its name: {names}."),
    "unknown-miner": (404, "No miner is named {miner}."),
    "miner-gone": (503, "This miner was removed from the list of miners.{further}"),
    "host": (
        421,
        "{host} is not a known name of this server. If it is one: chi-server --host {bare}",
    ),
    "internal": (500, "Internal error. The log of chi has the details."),
    "refused": (
        502,
        "The miner's API at {miner} refuses connections. Is it running, with its API enabled (--api-listen)?",
    ),
    "unreachable": (502, "The miner's API at {miner} cannot be reached: {why}."),
    "unknown-host": (502, "The name of the miner's host {miner} cannot be looked up: {why}."),
    "closed": (
        502,
        "The miner at {miner} closed the connection without a reply. A miner does so if this host is "
        "not in its api-allow list (cpuminer, ccminer: --api-bind), or if it speaks only the text protocol "
        "and chi has not detected that (--protocol text).",
    ),
    "empty": (502, "The miner sent an empty reply: it may speak only the text protocol (cpuminer, ccminer)."),
    "text-protocol": (502, "The miner's reply, in the text protocol, cannot be read: {why}."),
    "no-summary": (502, "The miner does not report a summary: {why}."),
    "not-json": (502, "The miner's reply is not JSON and cannot be repaired: {why}."),
    "cut-off": (502, "The miner's reply was cut off after {size} bytes."),
    "too-deep": (502, "The miner's reply is nested more than {limit} levels deep."),
    "reply-too-large": (502, "The miner's reply is larger than {limit} bytes."),
    "pretty-too-large": (502, "The indented reply is larger than {limit} bytes. Omit ?pretty."),
    "busy": (503, "Too many requests are waiting for the miner. Try again later."),
    "hung": (
        503,
        "The miner has not answered for {seconds:.0f} s, and others are waiting. Try again later.",
    ),
    "not-sent": (
        503,
        "Other requests kept the miner busy for {seconds:g} s. This request was not sent to it.",
    ),
    "on-its-way": (
        503,
        "The miner is slow: chi has been reading its status for {seconds:.0f} s. Try again in a moment.",
    ),
    "not-ready": (503, "{why}"),
    "stopping": (503, "chi is stopping. The request was abandoned.{further}"),
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
# The miner cannot be reached or does not answer.
MINER_DOWN = TIMEOUTS | {"refused", "unreachable", "unknown-host", "closed"}
# Errors that a request to the miner can end with.
OF_THE_MINER = frozenset(name for name, (status, _) in ERRORS.items() if status in (502, 504))
# The request was denied.
DENIALS = frozenset({"token", "read-only", "cross-site", "confirm", "host"})


class ChiError(Exception):
    """An error response: `name` (a key of ERRORS), HTTP `status` and message.

    `values` fill in the message; `further` is a sentence more, if there is one.
    """

    def __init__(
        self, name: str, headers: Sequence[tuple[str, str]] = (), *, further: str = "", **values: object
    ) -> None:
        self.name = name
        self.status, message = ERRORS[name]
        self.headers = headers or ([("Retry-After", "1")] if self.status == 503 else [])
        self.page: Any = None  # a bottle.HTTPResponse with a page, if a browser gets more than the message
        super().__init__(message.format(further=further, **values))


def quote(text: str) -> str:
    """The beginning of a foreign text, in printable ASCII."""
    return json.dumps(text[:60])
