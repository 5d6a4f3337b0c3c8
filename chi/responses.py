"""Builds responses: from a reply or an error, and chi's own messages in the API's form.

Comes in: a Reply or a ChiError. Goes out: status, headers and body, or the same as bottle's response.
"""

from __future__ import annotations

import http.client
import re
import time
from typing import NamedTuple

import bottle

from chi import __version__
from chi.bounds import MAX_REASON
from chi.errors import ChiError
from chi.miner.questions import Outcome
from chi.miner.replies import ENCODER

JSON = "application/json; charset=utf-8"
# Of these the status line tells the message as well: simple checkers show nothing else of a failure.
TOLD_IN_STATUS_LINE = frozenset({"not-ready"})
NOT_PRINTABLE = re.compile(r"[^ -~]+")


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
    headers = list(JSON_HEADERS)
    if outcome.repairs:
        headers.append(("Chi-Repaired", ", ".join(outcome.repairs)))
    if outcome.translated:
        headers.append(("Chi-Translated", "text"))
    return Answer(200, headers, outcome.body)


def respond(outcome: Outcome) -> bottle.HTTPResponse:
    """The same as bottle's response."""
    status, headers, body = answer(outcome)
    told = isinstance(outcome, ChiError) and outcome.name in TOLD_IN_STATUS_LINE
    return bottle.HTTPResponse(body, status_line(status, str(outcome)) if told else status, headers)


def status_line(status: int, message: str) -> str:
    """Return the status and a message in printable ASCII, at most MAX_REASON characters of it."""
    reason = NOT_PRINTABLE.sub(" ", message).strip()
    if len(reason) > MAX_REASON:
        reason = reason[: MAX_REASON - 3].rstrip() + "..."
    return f"{status} {reason or http.client.responses.get(status, 'Error')}"


def moved(path: str) -> bottle.HTTPResponse:
    """A redirect to one of chi's own paths; nothing of it is the request's."""
    return bottle.HTTPResponse(
        envelope("I", 308, f"This is at {path}"), 308, [*JSON_HEADERS, ("Location", path)]
    )


def method_error(allow: str) -> ChiError:
    """Return the error for a method that is none of `allow`."""
    return ChiError("method", [("Allow", allow)], allow=allow)
