"""What a request asks for, read from its path, its query, its headers and its body.

Comes in: a WSGI environ, or a part of it. Goes out: the API's request (a Plan) or a value, or ChiError with
what is wrong. Whether it is allowed is judged elsewhere.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, NamedTuple

from chi.errors import ChiError
from chi.miner.replies import BOM, parse_json
from chi.miner.wire import encode_request

ROOT = "summary+devs"  # what / asks for
MISPLACED = ("command", "cmd")  # of the API's request: a command goes into the path or a POST's body
BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


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
    body = body.removeprefix(BOM)
    if not body.strip():
        raise ChiError("bad-body", why="it is empty")
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


def depth_of(environ: dict[str, Any]) -> int:
    """Return how many levels the URL is below the root: what a browser takes for a level."""
    target: str = environ["REQUEST_URI"].partition("?")[0]
    return target.count("/") - 1  # as it came: waitress makes one / of those that it begins with


def scrape_timeout(environ: dict[str, Any]) -> float:
    """Return how long Prometheus lets a scrape take, in seconds, less the time on the network."""
    try:
        limit = float(environ.get("HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS", "inf"))
    except ValueError:
        return float("inf")
    return max(limit - 0.5, limit / 2) if limit > 0 else float("inf")


def asks_for(environ: dict[str, Any], name: str) -> bool:
    """Whether the query has a field of that name, with or without a value."""
    query = environ["QUERY_STRING"]
    return bool(query) and any(part.partition("=")[0] == name for part in query.split("&"))


def field_of(environ: dict[str, Any], name: str) -> str | None:
    """Return the text of the query's first field of that name, None if it has none."""
    for part in environ["QUERY_STRING"].split("&"):
        found, _, text = part.partition("=")
        if found == name:
            return urllib.parse.unquote_plus(text)
    return None


def check_place(environ: dict[str, Any]) -> None:
    """Refuse a command where none is looked for: it would get another command's reply."""
    if environ["REQUEST_METHOD"] != "POST" and read_input(environ):
        raise ChiError("misplaced", where="the body of a GET")
    for name in MISPLACED:
        if asks_for(environ, name):
            raise ChiError("misplaced", where=f"the query (?{name}=)")


def is_navigation(environ: dict[str, Any]) -> bool:
    """Whether a browser's user opens the page: it is no part of another, and no other site leads here.

    Browsers tell this on localhost and over HTTPS alone.
    """
    fetch = (environ.get("HTTP_SEC_FETCH_DEST"), environ.get("HTTP_SEC_FETCH_SITE"))
    return fetch in (("document", "none"), ("document", "same-origin"))


def accepted_age(environ: dict[str, Any]) -> float:
    """Return the age that the client accepts, in seconds: Cache-Control: max-age (RFC 9111, 5.2.1.1)."""
    control = environ.get("HTTP_CACHE_CONTROL", "").lower()
    match = re.search(r"(?:^|[,\s])max-age=([0-9]{1,9})(?:$|[,\s])", control, re.ASCII)
    return float(match[1]) if match and "no-" not in control else 0.0
