"""chi's HTML pages as responses: the dashboard, the confirmation of a privileged command, and the icon.

A page can be in no frame and can do only what its Content-Security-Policy says. Nothing here asks the miner.
"""

from __future__ import annotations

import base64
import functools
import os
import re
from typing import Any, NamedTuple

import bottle

# A white # on blue: 32 pixels wide as an icon file, and 192 as PNG.
FAVICON = base64.b64decode(
    "AAABAAEAICAAAAEAIADBAAAAFgAAAIlQTkcNChoKAAAADUlIRFIAAAAgAAAAIAIDAAAADhSSZwAAAAxQTFRF////n8DlTYrPCl+9"
    "JUQFiAAAAHBJREFUeNqdjzsKg2AQhD9/2U6IzdYeRY+wxYKlV80l0nsEm4CFOCnSSNDCTDUwwzwq8UXhHtmbvbmQhAD0TksbhRaA"
    "WgePpaUlSGu3dlKBje23q6UF9AoPn4SeAI9jjoeHB0hzP/dSAQaGs2HVX08/hVMlL750YJcAAAAASUVORK5CYII="
)
ICON = (
    "iVBORw0KGgoAAAANSUhEUgAAAMAAAADAAgMAAAAvsoSUAAAADFBMVEX////E2e9Oi88KX72pM/RzAAABVUlEQVR42u2ZMY7CMBRE"
    "x7t0FMsNuEruQMcVuASXodhqr5CK82SlrVCEaQJYzvf/QsnmG2lcTcHoT4bgF5wQ8dr6AA000EADDTTUYTgfWlHfV8xXi7D/EfSw"
    "xoYjgE9BD0u+hlVBO7XUJjFaj0hh9KwRAKz/xlqd8K+1xoLWJ2wK2uebjkmMWFGkumrtC1qf0BS0T619EqOfI9Jz5zM+96XufEQW"
    "DTS8aBh+UQ2AtaA7P04bmJYnKJiefg0WT+QJCk8cbg0L016R6qrVwrQ8QcG0Q60Wpr0iabXmm8Dv5nlPpHq+SF1BqxNCQS9UK7LN"
    "2XysIhRpoGEGw/AH5AoA27GOs0UyMb18SyamxQkapidHMnkiTtAwvXytJqadIqm1Zpw2MT05kolpaYKK6eVr7ZIYXT2R9FqzU+nL"
    "qXkcQ6daOca+fu9EfV+BL4NpoIEGGmh4D8MNaS04bJhE5XwAAAAASUVORK5CYII="
)

# What a home screen needs to know of the page; addresses are relative to its own, which may be below a name.
MANIFEST = {
    "name": "Miner",
    "short_name": "Miner",
    "description": "Whether the miner earns, and what is wrong if not.",
    "start_url": "dashboard",
    "display": "minimal-ui",  # with a way back from the page that confirms a command
    "theme_color": "#0a5fbd",
    "background_color": "#f3f5f7",
    "icons": [{"src": f"data:image/png;base64,{ICON}", "sizes": "192x192", "type": "image/png"}],
}

# No script, no style, nothing to load; the form goes to the page's own URL.
CONFIRMATION = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Confirm a command to the miner</title>
<h1>Send this to the miner?</h1>
<p>Command: <code><bdi>{command}</bdi></code></p>{unknown}
<p><label>Parameter: <textarea readonly rows="3" cols="36" dir="auto">
{parameter}</textarea></label></p>
<p>It may change what the miner does. If you did not mean to come here, close this page.</p>
<form method="post"><button>Send it</button></form>
<p><a href="{dashboard}">Back to the dashboard</a>, and nothing is sent.</p>
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


UNKNOWN = "\n<p><strong>The miner does not know this command.</strong></p>"


def confirmation(members: dict[str, Any], base: str, unknown: bool) -> bottle.HTTPResponse:
    """A page on which the user of a browser says that the command is meant.

    `base` is the relative URL of what has the dashboard in it, as seen from the page; `unknown` whether the
    miner says that it has no such command.
    """
    dashboard = bottle.html_escape(f"{base}dashboard")
    texts = (str(members.get(name, "none")) for name in ("command", "parameter"))
    command, parameter = (bottle.html_escape(text) for text in texts)
    text = CONFIRMATION.format(
        command=command, parameter=parameter, dashboard=dashboard, unknown=UNKNOWN if unknown else ""
    )
    return page(text.encode("utf-8", "replace"), 403, "form-action 'self'")


class StaticPage(NamedTuple):
    """A page that is the same for everybody: its file, the same compressed, its policy, its tag."""

    body: bytes
    compressed: bytes  # empty without zlib, which small devices leave out
    allowed: str
    tag: str


def static_page(name: str, environ: dict[str, Any]) -> bottle.HTTPResponse:
    """A page from a file, compressed if the client accepts that; 304 if the client has it."""
    body, compressed, allowed, tag = read_page(name)
    zipped = bool(compressed) and takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
    tag = f'"{tag}-gzip"' if zipped else f'"{tag}"'
    response = page(compressed if zipped else body, 200, allowed)
    known = {value.strip().removeprefix("W/") for value in environ.get("HTTP_IF_NONE_MATCH", "").split(",")}
    if tag in known or "*" in known:
        response.status, response.body = 304, b""
    elif zipped:
        response.set_header("Content-Encoding", "gzip")
    response.set_header("Cache-Control", "no-cache")  # it is kept, and asked for again by its tag
    response.set_header("ETag", tag)
    response.set_header("Vary", "Accept-Encoding")
    return response


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header takes gzip (RFC 9110, 12.5.3)."""
    weights: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip()] = not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return weights.get("gzip", weights.get("*", False))


@functools.cache
def read_page(name: str) -> StaticPage:
    """Return a page's file with its policy: what is in the file may run and ask chi, and no more."""
    import hashlib  # here, as most who start chi never open the page

    with open(os.path.join(os.path.dirname(__file__), name), "rb") as file:
        body = file.read()
    sources = [
        "connect-src 'self'",
        "img-src 'self' data:",  # its icon, which it redraws with each verdict
        "manifest-src 'self'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    ]
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside).digest()).decode()
        sources.append(f"{tag}-src 'sha256-{digest}'")
    return StaticPage(body, compress(body), "; ".join(sources), hashlib.sha256(body).hexdigest()[:16])


def compress(body: bytes) -> bytes:
    """Return a body as gzip; empty where zlib is not there."""
    try:
        import zlib
    except ImportError:
        return b""
    compressor = zlib.compressobj(9, wbits=31)
    return compressor.compress(body) + compressor.flush()
