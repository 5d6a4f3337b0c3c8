"""A client's connection and the listening server: waitress's classes as chi needs them.

Comes in: a client's bytes. Goes out: a stamped request to the event loop (waitress's task dispatcher), and
the response to the client. No request is judged here, and no reply of the miner's is read.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.server import TcpWSGIServer

from chi.bounds import HEADER_TIME, LARGE, LINGER, SEND_TIME
from chi.miner.questions import Parked
from chi.server.budgets import Budgets
from chi.server.outgoing import Outgoing
from chi.server.parsing import Request
from chi.server.tasks import BadRequestTask, Task


def without_path(record: logging.LogRecord) -> bool:
    """Take the path out of waitress's messages: it may hold a secret."""
    record.msg = str(record.msg).partition(" while serving ")[0]
    return True


logging.getLogger("waitress").addFilter(without_path)


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
        self._budgets: Budgets = self.server.task_dispatcher.budgets
        self.outbufs = [Outgoing(self._budgets.pile)]
        self.progress = self.adj.clock.now()

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.progress = self.adj.clock.now()
        received: bool = super().received(data)
        self._count_held()
        return received

    def _count_held(self) -> None:
        request = self.requests[0] if self.requests else self.request  # there is one at the most
        held = request.held if request and self.connected else 0
        self._budgets.received += held - self.held
        self.held = held

    def service(self) -> None:
        """Answer the first of `requests`, or leave it parked."""
        request = self.requests[0]
        if self.server.task_dispatcher.stopping:
            request.headers = {**request.headers, "CONNECTION": "close"}  # as if the client had asked for it
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
        sent = 0
        if data and not self.total_outbufs_len:
            sent, _ = self._flush_exception(functools.partial(self.send, data), do_close=False)
            if sent:
                self.progress = self.adj.clock.now()
        if sent < len(data):
            self.outbufs[0].append(data, sent)
            self.total_outbufs_len += len(data) - sent
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
