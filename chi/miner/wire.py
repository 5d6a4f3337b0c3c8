"""One request on one connection, in the CGMiner API's wire protocol.

Comes in: a request and the addresses to try. Goes out: the reply's bytes without the NUL, or ChiError.
Nothing is retried here, and nothing blocks: the event loop carries the connection.

One request a connection, sent whole at once (the server reads it with one recv()), with no delimiter;
the reply ends with NUL, and the server closes. The server has one thread and waits without limit for
the request, so a connection is opened only with the request at hand.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from chi.bounds import LARGE, MAX_LOOKED, MAX_REPLY, MAX_REQUEST
from chi.clock import CLOCK, Clock
from chi.errors import ChiError
from chi.miner.replies import ENCODER, Made, Reply, read_json, read_valid

log = logging.getLogger("chi")

QUIET = 0.25  # a reply with no NUL on a connection left open is taken as complete after this pause

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
    # CPython loads its tables of Unicode host names, 0.4 MB, for any str.
    name = host.encode() if host.isascii() else host
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "it is no host name") from None
    return [(family, address) for family, _, _, _, address in found]


class Exchange:
    """One request on one connection, carried by the event loop (`sockets`: descriptor to object).

    Ends with one call of `landed(self, outcome)`: the reply's bytes without the NUL, or a ChiError.
    `asked` is when the request was sent, `heard` the last sign of life, in seconds of `clock`; `reply` is the
    outcome as read already, where it had to be read to see that it is complete.
    """

    accepting = False  # for wasyncore: not a listening socket

    def __init__(
        self,
        miner: str,
        request: bytes,
        sockets: dict[int, Any],
        landed: Callable[[Exchange, bytes | ChiError], None],
        clock: Clock = CLOCK,
        made: Made | None = None,
    ) -> None:
        self._clock = clock
        self._made = made
        self.request = request
        self.started = self.heard = clock.now()
        self.asked: float | None = None
        self._miner = miner
        self._sockets = sockets
        self._landed = landed
        self._addresses: Addresses = []
        self._socket: socket.socket | None = None
        self._data = bytearray()
        self._finished = False
        self.reply: Reply | None = None
        self._checked = self._settled = 0  # length at the last looks whether it is complete without NUL
        self._looked = 0  # bytes that settle() has looked at

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
        """Close the connection; what came on it is with whom it is for."""
        self._data.clear()
        self.reply = None
        if self._socket is not None:
            self._sockets.pop(self._socket.fileno(), None)
            self._socket.close()
            self._socket = None

    def finish(self, outcome: bytes | ChiError) -> None:
        """End the exchange, once, with `outcome`; the caller closes it when the clients have that."""
        if not self._finished:
            self.detach()
            self._landed(self, outcome)

    def detach(self) -> None:
        """Take nothing more from the connection, without an outcome."""
        if self._socket is not None:
            self._sockets.pop(self._socket.fileno(), None)
        self._finished = True

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
        now = self._clock.now()
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
        while not self._finished:
            assert self._socket is not None
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
        """The API has no urgent data; poll() reports it until something else is read."""
        self.handle_read_event()

    def handle_close(self) -> None:
        if self.asked is not None:  # else handle_write_event() has seen the error already
            self.handle_read_event()

    def handle_error(self) -> None:
        log.exception("fault while talking to the miner")
        self.finish(ChiError("internal"))

    # What came.

    def _received(self, chunk: bytes) -> None:
        self.heard = self._clock.now()
        nul = chunk.find(0)
        self._data += chunk if nul < 0 else chunk[:nul]
        if len(self._data) > MAX_REPLY:
            self.finish(ChiError("reply-too-large", limit=MAX_REPLY))
        elif nul >= 0:
            self.finish(bytes(self._data) if self._data else ChiError("empty"))
        elif chunk.rstrip().endswith((b"}", b"]")) and len(self._data) >= 2 * self._checked:
            # Doubling keeps the checks of a reply that drips in linear in its length.
            self._checked = len(self._data)
            self._finish_if(lambda data: read_valid(data, self._made))

    def settle(self) -> None:
        """Take what has come as the reply if it is complete: nothing has come for QUIET seconds."""
        if len(self._data) > self._settled and self._looked < MAX_LOOKED:
            self._settled = len(self._data)
            self._looked += len(self._data)
            self._finish_if(lambda data: read_json(data, self._made))

    def _finish_if(self, read: Callable[[bytes], Reply]) -> None:
        data = bytes(self._data)
        try:
            self.reply = read(data)
        except (ValueError, ChiError):
            return
        self.finish(data)

    def _end_of_stream(self) -> None:
        self.finish(bytes(self._data) if self._data else ChiError("closed", miner=self._miner))
