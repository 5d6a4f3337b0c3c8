"""waitress's classes as chi needs them: request, task, channel and listening server.

Comes in: a client's bytes. Goes out: a stamped request to the event loop (waitress's task dispatcher), and
the response to the client. No request is judged here, and no reply of the miner's is read.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import socket
from collections.abc import Sequence
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, RequestHeaderFieldsTooLarge

from chi.bounds import (
    HEADER_TIME,
    LARGE,
    LINGER,
    MAX_BODY,
    MAX_FRAMING,
    MAX_HEADER,
    SEND_TIME,
    SPARE_DESCRIPTORS,
)
from chi.clock import Clock
from chi.miner.questions import Client, Parked
from chi.responses import JSON_HEADERS, Answer, answer, envelope
from chi.server.descriptors import take_descriptors
from chi.server.heads import Head, HeadError, tidy
from chi.server.outgoing import Outgoing
from chi.server.room import Room
from chi.sites import split_path

access_log = logging.getLogger("chi.access")
PIECE = 1024  # bytes of a chunked body that are taken at once
FIELD_SIZE = 256  # bytes of memory that a header field takes beside its text
SHORT = 16 << 10  # a body up to this goes out in one piece with its header
PLAIN_PATH = re.compile(r"(/@[\w.-]{1,63})?/[\w+.-]*", re.ASCII)


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
        whole, count = not self._head, 0
        if self.body_rcv is None:
            count = self._take_head(data)
        else:
            count = super().received(data[:PIECE] if self.chunked else data)
            self._check_framing()
        if not self.completed:
            return count
        self.arrived = self.adj.clock.now()
        self.expect_continue = False  # there is nothing to go on with; waitress would wait for it
        self.surplus = data[count:]
        if whole and self.body_rcv is None:
            self.raw = data[:count]
        return len(data)

    @property
    def held(self) -> int:
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
    pieces = [header] if task.request.command == "HEAD" else [header, what.body]
    for piece in [b"".join(pieces)] if len(what.body) <= SHORT else pieces:
        task.channel.write_soon(piece)


def account(task: Task | BadRequestTask) -> None:
    """Count an answered request, and log it if that is asked for."""
    task.channel.server.task_dispatcher.count(task.status[:3])
    request = task.request
    if request.client is None or not access_log.isEnabledFor(logging.INFO):
        return
    # Without the parameter, which may be a secret.
    name, path = split_path(request.path)
    command = ("" if name is None else f"/@{name}") + "/" + path[1:].partition("/")[0]
    if not PLAIN_PATH.fullmatch(command):  # may be cgminer's text protocol, command|parameter
        command = "(odd)"
    address, method = task.channel.addr[0], request.command or "-"
    took = task.channel.adj.clock.now() - request.client.arrived
    access_log.info("%s %s %s %s %.4f s", address, method, command, task.status[:3], took)


class Channel(HTTPChannel):
    """A client's connection."""

    parser_class = Request
    task_class = Task
    error_task_class = BadRequestTask
    progress: float  # when a request last began or ended, or some of a response was sent
    held = 0  # bytes received and not yet answered
    delayed = False  # whether the next request waits until the reply before it is sent
    refused = False  # whether what came was no request: the client may still be sending
    lingering = 0.0  # until when what it sends is read and thrown away

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room: Room = self.server.task_dispatcher.room
        self.outbufs = [Outgoing(self._room.pile)]
        self.progress = self.adj.clock.now()

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.progress = self.adj.clock.now()
        received: bool = super().received(data)
        self._count_held()
        return received

    def _count_held(self) -> None:
        requests = [*self.requests, *([self.request] if self.request else [])] if self.connected else []
        held = sum(request.held for request in requests)
        self._room.received += held - self.held
        self.held = held

    def service(self) -> None:
        """Answer the first of `requests`, or leave it parked."""
        request = self.requests[0]
        if self.server.task_dispatcher.stopping:
            request.headers["CONNECTION"] = "close"  # as if the client had asked for it
        try:
            super().service()
        except Parked:
            return
        self.progress = self.adj.clock.now()
        self._count_held()
        if request.surplus and self.connected:
            self.received(request.surplus)

    def write_soon(self, data: bytes) -> int:
        """As waitress; but nothing is copied, and nothing waits for the client."""
        if not self.connected:
            raise ClientDisconnected
        if data:
            self.outbufs[0].append(data)
            self.total_outbufs_len += len(data)
            self._flush_exception(self._flush_some, do_close=False)
        return len(data)

    def _flush_some(self, do_close: bool = True) -> bool:
        sent: bool = super()._flush_some(do_close)
        if sent:
            self.progress = self.adj.clock.now()
        return sent

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
            self.lingering = self.adj.clock.now() + LINGER
            self.will_close = False
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_close()
        for request in self.requests:
            if request.client:
                request.client.leave()
        self._count_held()

    def drop(self) -> None:
        """Close it at once, even if it waits for a reply."""
        self.refused = False
        self.handle_close()

    def handle_expt_event(self) -> None:
        """HTTP has no urgent data, and poll() would tell of it again and again."""
        self.handle_close()

    def handle_write(self) -> None:
        super().handle_write()
        if self.delayed and not self.total_outbufs_len:
            self.delayed = False
            self.server.task_dispatcher.resume(self)

    @property
    def last_activity(self) -> float:
        """When something was last received or sent; waitress sets it."""
        return self._active

    @last_activity.setter
    def last_activity(self, _: float) -> None:  # waitress's own is the time of day, which may be set
        self._active: float = self.adj.clock.now()

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent what is not read yet."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def silent_for(self, seconds: float) -> bool:
        """Whether the client has been idle for that long: no request received, answered or sent."""
        receiving = self.request is not None or self.has_unread
        return self.idle and not receiving and self.adj.clock.now() - self.progress >= seconds

    @property
    def source(self) -> str:
        """The client's address."""
        address: str = self.addr[0]
        return address

    @property
    def waits(self) -> bool:
        """Whether its client has asked and waits for us."""
        return bool(self.requests) and not self.total_outbufs_len

    @property
    def idle(self) -> bool:
        """Whether it can be closed with no answer lost."""
        return not self.requests and not self.total_outbufs_len and not self.will_close


class Server(TcpWSGIServer):
    """A listening socket."""

    channel_class = Channel
    next_channel_cleanup = float("inf")  # waitress would go by the time of day, which may be set

    def pull_trigger(self) -> None:
        """Handlers run in the loop: it need not be woken."""

    def accept(self) -> tuple[socket.socket, Any] | None:
        """As waitress; but who may not connect is hung up on before a byte is read."""
        accepted: tuple[socket.socket, Any] | None = super().accept()
        if accepted is None:
            return None
        sock, address = accepted
        if not self.task_dispatcher.allows(address[0]):
            sock.close()
            return None
        self.task_dispatcher.make_place()
        return accepted

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        for channel in list(self.active_channels.values()):
            late = channel.request is not None and now - channel.progress > HEADER_TIME
            stuck = channel.total_outbufs_len and now - channel.progress > SEND_TIME
            if late or stuck or 0 < channel.lingering < now:
                channel.drop()


def server_adjustments(listening: Sequence[socket.socket], clock: Clock, reserved: int = 0) -> Adjustments:
    """Waitress's settings for an appliance on a LAN; `reserved` descriptors are a fleet's connections."""
    descriptors = take_descriptors()
    adjustments = Adjustments(
        sockets=list(listening),
        ident="chi",
        # Nothing is accepted beyond; chi.server.room sees to it that this is not reached by one address.
        connection_limit=descriptors - min(SPARE_DESCRIPTORS, descriptors // 2) - reserved,
        channel_timeout=120,  # longer than any monitor's interval, so that it keeps its connection
        asyncore_use_poll=True,  # select() fails past descriptor 1023
        log_socket_errors=False,  # a client that disconnects is not worth a log line
        max_request_header_size=MAX_HEADER,
        max_request_body_size=MAX_BODY,
        # Replies stay in memory, and writing one never waits: the loop that writes is the one that sends.
        outbuf_overflow=1 << 40,
        outbuf_high_watermark=1 << 40,
        clear_untrusted_proxy_headers=False,  # chi believes REMOTE_ADDR and no header
    )
    adjustments.clock = clock
    return adjustments
