"""A client's HTTP request, as waitress parses it, stamped when it is complete.

Comes in: a client's bytes, in pieces of any size. Goes out: a Request; what is wrong with it is its `error`.
"""

from __future__ import annotations

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, RequestHeaderFieldsTooLarge

from chi.bounds import MAX_FRAMING, MAX_PARSED_SIZE
from chi.miner.questions import Client
from chi.server.adjustments import Adjustments
from chi.server.heads import Head, HeadError, tidy
from chi.sites import split_path

PIECE = 1024  # bytes of a chunked body that are taken at once
FIELD_SIZE = 256  # bytes of memory that a header field takes beside its text


class Request(HTTPRequestParser):
    """A client's HTTP request as waitress parses it, stamped when it is complete."""

    command = path = ""  # for waitress, which does not set them where the first line is wrong
    client: Client | None = None
    arrived = 0.0
    held = 0  # bytes of memory that it takes
    name: str | None = None  # of the miner that its path names,
    place = ""  # and the rest of the path
    raw = b""
    surplus = b""  # what came with it and is not of it: the next request, if it is pipelined

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self._head = Head(adj.max_request_header_size)

    def parse_header(self, header_plus: bytes) -> None:
        """As waitress, which lets some faults through: http://[/, a Content-Length of 5,000 digits."""
        try:
            super().parse_header(tidy(header_plus))
        except ValueError as error:
            raise ParsingError(str(error)[:60]) from None
        if not self.command:  # pragma: no cover - only waitress 2.1 gets here
            raise ParsingError("Start line is invalid")

    def received(self, data: bytes) -> int:
        """Take `data` up to the end of the head, or all of it, where it ends the request."""
        whole = not self._head
        known = self.adj.parsed_requests.get(data) if whole else None
        if known is None:
            count = self._take(data)
            if self.completed:
                self._complete(data, count, whole)
                count = len(data)
            self.held = self._size()
            if self.raw and self.held <= MAX_PARSED_SIZE and not (self.surplus or self.error):
                self.adj.parsed_requests.keep(self.raw, self.__dict__.copy())
        else:
            self.__dict__.update(known)
            count = len(data)
        self.arrived = self.adj.clock.now()
        return count

    def _take(self, data: bytes) -> int:
        if self.body_rcv is None:
            return self._take_head(data)
        count: int = super().received(data[:PIECE] if self.chunked else data)
        self._check_framing()
        return count

    def _complete(self, data: bytes, count: int, whole: bool) -> None:
        """Note what its last piece of `data` tells, of which so many bytes are the request's."""
        self.expect_continue = False  # there is nothing to go on with; waitress would wait for it
        self.surplus = data[count:]
        self.name, self.place = split_path(self.path)
        if whole and self.body_rcv is None and not self.empty:
            self.raw = data[:count]

    def _size(self) -> int:
        """Bytes of memory that it takes, about: a head that is parsed is there as text as well."""
        size: int = len(self._head) + self.body_bytes_received + len(self.surplus) + len(self.raw)
        return size + 2 * len(self._head) + FIELD_SIZE * len(self.headers) if self.headers_finished else size

    def _take_head(self, data: bytes) -> int:
        try:
            count = self._head.feed(data)
        except HeadError as error:
            self.error = (BadRequest if error.status == 400 else RequestHeaderFieldsTooLarge)(str(error))
            self.completed = True
            return len(data)
        if not self._head:  # blank lines between requests
            self.empty = self.completed = True
        elif self._head.complete:
            super().received(bytes(self._head))
        return count

    def _check_framing(self) -> None:
        """Bound what is around the data of chunks, which waitress looks through again with each byte."""
        if self.chunked and self.body_bytes_received - len(self.body_rcv) > MAX_FRAMING and not self.error:
            self.error = BadRequest(f"There are more than {MAX_FRAMING} bytes around the data of chunks")
            self.completed = True
