"""Checks a request's header before waitress parses it: where it ends, and whether it is well-formed.

Comes in: a client's bytes, in pieces of any size. Goes out: the head, once it is whole and of an ordinary
shape, or HeadError as soon as it is not. What it costs is linear in the bytes. What a head means is
waitress's affair.
"""

from __future__ import annotations

import re

from chi.bounds import MAX_FIELDS, MAX_METHOD

NOT_HTTP = "This is HTTP; a request begins as in GET /summary HTTP/1.1"
LINE_ENDS = "This is HTTP; each line ends with CR LF, and has neither of them inside"

END = b"\r\n\r\n"
BLANK = b" \t\r\n\v\f"
# Upper case, as RFC 9110 registers them. A client that is at the wrong door stops here, TLS's among them.
METHOD = re.compile(rb"[!#$%%&'*+\-.^_`|~0-9A-Z]{1,%d}(?: |\Z)" % MAX_METHOD)
FIRST_LINE = re.compile(rb"[^ ]+ [^ ]+ HTTP/[0-9]\.[0-9]")
BAD_LINE_END = re.compile(rb"\r[^\n]|(?<!\r)\n")
FOLD = re.compile(rb"\n[ \t]")  # RFC 9112, 5.2: a server may refuse them
AFTER_COLON = re.compile(rb"(?<=\n)([^\s:]+:)[ \t]+")


class HeadError(ValueError):
    """A head that is not worth parsing: HTTP `status` and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class Head:
    """The head of one request, as it arrives."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()
        self._lines = 0
        self.complete = False  # with its last blank line, or as large as it may be

    def __len__(self) -> int:
        return len(self._bytes)

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)

    def feed(self, data: bytes) -> int:
        """Take the head's part of `data`, return how long that is; HeadError if it is not worth parsing."""
        before = len(self._bytes)
        self._bytes += data if before else data.lstrip(BLANK)
        end = self._bytes.find(END, max(0, before - len(END) + 1))
        surplus = len(self._bytes) - end - len(END) if end >= 0 else 0
        if surplus:
            del self._bytes[-surplus:]
        self.complete = end >= 0 or len(self._bytes) >= self._limit
        self._check(before)
        return len(data) - surplus

    def _check(self, before: int) -> None:
        """Judge what has come since there were `before` bytes."""
        if not self._bytes:  # so far it is blank lines between requests
            return
        if not self._lines and not METHOD.match(self._bytes[: MAX_METHOD + 1]):
            raise HeadError(400, NOT_HTTP)
        since = max(0, before - 1)
        if BAD_LINE_END.search(self._bytes, since):
            raise HeadError(400, LINE_ENDS)
        lines = self._lines + self._bytes.count(b"\n", before)
        if lines and not self._lines:
            first = self._bytes[: self._bytes.index(b"\n")]
            if not FIRST_LINE.fullmatch(first.rstrip()):
                raise HeadError(400, NOT_HTTP)
        self._lines = lines
        if FOLD.search(self._bytes, since):
            raise HeadError(400, "A header field must be on one line")
        if lines > MAX_FIELDS + 2:  # the first line and the blank one
            raise HeadError(431, f"more than {MAX_FIELDS} header fields")


def tidy(head: bytes) -> bytes:
    """Return a head without the blanks that mean nothing: those between a field's colon and its value.

    This is for waitress up to 3.0, whose patterns take time that grows with the square of some heads; it and
    FIRST_LINE can go once a waitress without that is the oldest that chi supports.
    """
    return AFTER_COLON.sub(rb"\1", head)
