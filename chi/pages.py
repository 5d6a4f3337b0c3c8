"""chi's HTML pages as responses: the dashboard and the confirmation of a privileged command.

A page can be in no frame and can do only what its Content-Security-Policy says.
"""

from __future__ import annotations

import base64
import functools
import html
import os
import re
from typing import Any

import bottle

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
