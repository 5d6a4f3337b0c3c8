"""The event loop: its iterations, signals (also SIGHUP's reload) and shutdown.

Comes in: listening sockets, a WSGI application and the sites whose miners it carries. Goes out: nothing; it
runs until stop(). Nothing here waits for a miner.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any

from waitress import wasyncore

from chi.bounds import EVICT_AHEAD
from chi.clock import CLOCK, Clock
from chi.faults import guarded
from chi.miner.asking import TICK
from chi.miner.questions import Client
from chi.server.adjustments import Adjustments
from chi.server.budgets import Budgets
from chi.server.channels import Channel, Server
from chi.server.systemd import Notifier
from chi.server.threads import Threads
from chi.settings import Settings
from chi.sites import Sites

log = logging.getLogger("chi")

# These need no miner: they are answered beside what does, in turn.
OWN_PATHS = frozenset(
    {
        *("/healthz", "/history.json", "/access.json", "/fleet.json", "/targets.json"),
        *("/dashboard", "/manifest.webmanifest", "/favicon.ico", "/robots.txt"),
    }
)
CLEAN_EVERY = 10.0  # how often idle and late connections are looked at
# After SIGTERM, in seconds. A client that keeps its connection is told by its next response that it was the
# last on it. Those that ask every second get there; who has not asked for PATIENCE will hardly do so now.
GRACE = 0.3  # how long a connection without a request may send one at the least
PATIENCE = 1.2
DRAIN = 2.5  # how long what is in flight, or half received, may take; the services allow 5 s and more
READING = 0.05  # how long a turn of the loop takes what clients have sent
SLICE = 0.01  # how long the loop answers before it looks for new requests


class Loop:
    """The event loop and what it carries; for waitress, its task dispatcher."""

    def __init__(self, settings: Settings, notifier: Notifier, clock: Clock = CLOCK) -> None:
        self.clock = clock
        self.sockets: dict[int, Any] = {}  # wasyncore's map
        self.threads = Threads(self.wake)
        self.notifier = notifier
        self.budgets = Budgets(clock)
        self._timeout = settings.timeout
        # Whose request is complete: what needs no miner, and everything else.
        self._own: collections.deque[Channel] = collections.deque()
        self._ready: collections.deque[Channel] = collections.deque()
        self._clean_at = clock.now() + CLEAN_EVERY
        self._reload = False
        self._stopping, self._notified_stop = float("inf"), False

    def carry(
        self,
        app: Any,
        sites: Sites,
        listening: Sequence[socket.socket],
        allows: Callable[[str], bool] = lambda address: True,
    ) -> None:
        """Take the WSGI application, the miners that it serves, the sockets, and who may connect to them."""
        self.sites = sites
        self._allows = allows
        self._listening = listening
        self._adjustments = Adjustments(listening, self.clock, sites.connections)
        self.servers = [
            Server(
                app,
                map=self.sockets,
                _sock=sock,
                dispatcher=self,
                adj=self._adjustments,
                sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
                bind_socket=False,
            )
            for sock in listening
        ]

    def add_task(self, channel: Channel) -> None:
        """Take a channel whose next request is complete; it is answered after waitress's own turn."""
        request = channel.requests[0]
        request.client = Client(request.arrived, self._timeout, request.raw, lambda: self.resume(channel))
        self.resume(channel)

    def allows(self, address: str) -> bool:
        """Whether a client at this address may connect."""
        allowed = self._allows(address)
        if not allowed:
            self.sites.counters["denied_requests", "source"] += 1
        return allowed

    def count(self, status: str) -> None:
        """Count a response, by its status."""
        self.sites.counters["http_requests", status] += 1

    def resume(self, channel: Channel) -> None:
        """Have a channel's request answered, after those that are ready already."""
        (self._own if channel.requests[0].place in OWN_PATHS else self._ready).append(channel)

    def shutdown(self) -> None:
        """Called by waitress to end its threads; chi has none to end."""

    def wake(self) -> None:
        """End the wait for events; from any thread or signal handler."""
        with contextlib.suppress(OSError):  # run() has ended
            self.servers[0].trigger.pull_trigger()

    def stop(self) -> None:
        """Begin to end run(): nothing new is accepted, and what is in flight gets DRAIN seconds."""
        self._stopping = min(self._stopping, self.clock.now())
        self.wake()

    def reload(self) -> None:
        """Have the list of miners read again; from a signal handler."""
        self._reload = True
        self.wake()

    def run(self) -> None:
        """Serve until stop()."""
        self.notifier.store(self._listening)
        self.notifier.send("READY=1")
        timeout = 0.0
        while not self._drained():
            timeout = self.turn(timeout)
        wasyncore.close_all(self.sockets)

    def turn(self, timeout: float) -> float:
        """Wait for events for at most `timeout` seconds, do what is due; return how long to wait next."""
        self._take_events(timeout)
        self._keep_room()
        self.threads.deliver()
        self._serve(self.clock.now() + SLICE)
        if self._reload:
            self._reload = False
            guarded("reading the list of miners again", self.sites.reload)
        now = self.clock.now()
        if now >= self._clean_at:
            self._clean(now)
        timeout = min(self.sites.turn(now), self.notifier.ping(now), self._clean_at - now)
        if self.stopping:
            timeout = TICK
        return 0.0 if self._own or self._ready else timeout

    def _take_events(self, timeout: float) -> None:
        """As wasyncore's loop; but clients get a slice of time, and the others come first next time."""
        pollster = select.poll()
        for number, entry in self.sockets.items():
            flags = select.POLLIN | select.POLLPRI if entry.readable() else 0
            if entry.writable() and not entry.accepting:
                flags |= select.POLLOUT
            if flags:
                pollster.register(number, flags)
        wait = math.ceil(timeout * 1000)  # rounded down, the last millisecond would be spent turning
        ready = [(number, self.sockets[number], flags) for number, flags in pollster.poll(wait)]
        until = self.clock.now() + READING
        for number, entry, flags in sorted(ready, key=lambda event: isinstance(event[1], Channel)):
            if self.sockets.get(number) is not entry:  # closed meanwhile
                continue
            if isinstance(entry, Channel):
                if self.clock.now() >= until:
                    break
                self.sockets[number] = self.sockets.pop(number)
            wasyncore.readwrite(entry, flags)

    def _keep_room(self) -> None:
        """Keep the budgets of all clients together."""
        if self.budgets.is_short:
            self.budgets.keep_bytes(self._channels)
        if len(self.sockets) >= self._adjustments.connection_limit:
            self.budgets.make_place(self._channels())

    def make_place(self) -> None:
        """Make a place for a new connection, if they are short."""
        if len(self.sockets) >= self._adjustments.connection_limit - EVICT_AHEAD:
            self.budgets.make_place(self._channels())

    def _channels(self) -> list[Channel]:
        return [entry for entry in self.sockets.values() if isinstance(entry, Channel)]

    def _clean(self, now: float) -> None:
        """Have each server close what is idle, late or lingers too long."""
        self._clean_at = now + CLEAN_EVERY
        for server in self.servers:
            server.maintenance(now)

    def _serve(self, until: float) -> None:
        """Answer one request of each connection that is ready; pipelined ones wait for the next turn."""
        own, ready = len(self._own), len(self._ready)
        while (own or ready) and self.clock.now() < until:
            if own:
                own -= 1
                self._answer(self._own.popleft())
            if ready:
                ready -= 1
                self._answer(self._ready.popleft())
            if self.budgets.is_short:
                self.budgets.keep_bytes(self._channels)

    def _answer(self, channel: Channel) -> None:
        if not guarded("answering a request", self._answer_next, channel):
            guarded("closing a connection", channel.handle_close)

    def _answer_next(self, channel: Channel) -> None:
        if channel.total_outbufs_len:  # a pipelined request: its turn comes when the reply before is sent
            channel.delayed = True
        elif not self.sites.ask_again(channel.requests[0].client, channel.requests[0].name):
            channel.service()

    @property
    def stopping(self) -> bool:
        """Whether stop() was called: each response is the last on its connection."""
        return self._stopping < float("inf")

    def _drained(self) -> bool:
        """After stop(): whether all is answered and sent, or time is up."""
        if not self.stopping:
            return False
        since = self.clock.now() - self._stopping
        if not self._notified_stop:
            self._notified_stop = True
            self.notifier.send("STOPPING=1")
            for server in self.servers:
                server.accepting = False
        if since >= DRAIN:
            self.sites.give_up()
            self._serve(float("inf"))
            return True
        channels = self._channels()
        for channel in channels:
            if since >= GRACE and channel.silent_for(PATIENCE):
                channel.will_close = True
        return not channels
